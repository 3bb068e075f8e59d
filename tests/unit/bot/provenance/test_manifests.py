"""How large manifests are without their thumbnails, and that those which are too large are not read."""

from __future__ import annotations

import struct
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.inspection import SealState
from bot.provenance.inspection import inspect
from bot.provenance.kept_marks import keep_marks
from bot.provenance.manifests import MAX_VALUES, is_too_large
from tests.fakes.hostile_files import chunk, jpeg_with, png_with, segment, webp_with
from tests.fakes.source_images import picture
from tests.unit.bot.provenance.marked_files import MIMES, copy_of, facts, marked, plain, signs


def box(name: bytes, content: bytes, length: int | None = None) -> bytes:
    return struct.pack(">I", len(content) + 8 if length is None else length) + name + content


def long_box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4sQ", 1, name, len(content) + 16) + content


def store(content: bytes) -> bytes:
    head = box(b"jumd", b"c2pa\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71\x03c2pa\0")
    return box(b"jumb", head + box(b"jumb", head + content))


def segments(content: bytes, *, number: int = 1) -> list[bytes]:
    """A JPEG's segments of a box."""
    step = 60_000
    parts = [content[:step], *(content[:8] + content[at : at + step] for at in range(step, len(content), step))]
    return [
        segment(0xEB, b"JP" + struct.pack(">HI", number, index) + part) for index, part in enumerate(parts, start=1)
    ]


def files(content: bytes) -> list[bytes]:
    return [
        png_with(chunk(b"caBX", content)),
        jpeg_with(*segments(content)),
        webp_with((b"C2PA", content, None)),
    ]


LARGE = b"\x80" * (MAX_VALUES + 1)
"""As many empty lists, in CBOR."""


@pytest.mark.parametrize(
    "content",
    [b"", box(b"cbor", LARGE[:1000]), box(b"bidb", LARGE * 3), long_box(b"bidb", LARGE) + box(b"cbor", b"\x80")],
)
def test_values_and_any_thumbnails_are_not_too_large(content: bytes) -> None:
    assert [is_too_large(data) for data in files(store(content))] == [False] * 3


@pytest.mark.parametrize(
    "content",
    [
        box(b"cbor", LARGE),
        long_box(b"cbor", LARGE),
        box(b"json", LARGE),
        box(b"cbor", LARGE, 0),
        box(b"cbor", LARGE, 3),
        box(b"cbor", LARGE, 2**32 - 1),
        box(b"bidb", b"a") + box(b"cbor", LARGE),
        store(store(box(b"cbor", LARGE))),
        box(b"cbor", b"a" * 1000) * (MAX_VALUES // 1000),
        box(b"brob", b"packed"),
    ],
)
def test_many_values_and_what_is_packed_are(content: bytes) -> None:
    assert [is_too_large(data) for data in files(store(content))] == [True] * 3


@pytest.mark.parametrize("name", [b"jumb", b"cbor"])
@pytest.mark.parametrize("chunks", [1, 16])
def test_a_file_of_headers_alone_is_not_read_to_its_end(
    name: bytes, chunks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """60 MB of them took 16 seconds and a gigabyte."""
    read = 0

    def counted(form: str, data: bytes, at: int) -> tuple[int, ...]:
        nonlocal read
        read += 1
        return struct.unpack_from(form, data, at)

    data = png_with(*[chunk(b"caBX", box(name, b"") * (MAX_VALUES // 4 // chunks))] * chunks)
    monkeypatch.setattr("bot.provenance.manifests.struct", SimpleNamespace(unpack_from=counted))
    assert is_too_large(data)
    assert read < MAX_VALUES // 6


def test_segments_that_are_not_one_box_all_count() -> None:
    hidden = segments(box(b"bidb", b"", 2**32 - 1)) + segments(store(box(b"cbor", LARGE)), number=2)
    assert is_too_large(jpeg_with(*hidden))
    whole = segments(store(box(b"bidb", LARGE)))
    assert not is_too_large(jpeg_with(*whole))
    assert is_too_large(jpeg_with(*reversed(whole)))


def test_manifests_behind_what_is_read_count_too() -> None:
    large = store(box(b"cbor", LARGE))
    for data in (
        png_with(chunk(b"a!aa", b""), chunk(b"caBX", large)),
        picture(form="JPEG") + b"".join(segments(large)),
        webp_with((b"EXIF", b"", 2**31), (b"C2PA", large, None)),
    ):
        assert is_too_large(data)
    assert not is_too_large(picture(form="JPEG") + LARGE)


def test_signed_files_are_not_too_large() -> None:
    sealing = signs()
    if sealing is None:
        pytest.skip("the extra c2pa is not installed")
    data = sealing.sign(marked(facts()), MIMES["PNG"], facts())
    for kind in ("JPEG", "WEBP"):
        assert not is_too_large(sealing.sign_copy(copy_of(data, kind), MIMES[kind], data))
    assert not is_too_large(data)


@pytest.mark.parametrize("data", [picture(form=kind) for kind in MIMES] + [b"", b"GIF89a", b"GIF89a" + LARGE])
def test_other_files(data: bytes) -> None:
    assert is_too_large(data) == (len(data) > MAX_VALUES)


@given(
    st.binary(max_size=200),
    st.lists(st.sampled_from([b"jumb", b"bidb", b"cbor", b"\0\0\0\1", b"\0\0\0\0", b"\xff" * 4])),
)
def test_arbitrary_boxes_never_fail(junk: bytes, parts: list[bytes]) -> None:
    for data in files(b"".join(parts) + junk):
        assert not is_too_large(data)


@pytest.mark.parametrize("number", range(3))
def test_what_is_too_large_is_said_and_not_read(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    c2pa = pytest.importorskip("c2pa", reason="the extra c2pa is not installed")

    def read(*_: object, **__: object) -> None:
        raise AssertionError("it is read")

    monkeypatch.setattr(c2pa.Reader, "try_create", read)
    monkeypatch.setattr(c2pa.Builder, "add_ingredient", read)
    data = files(store(box(b"cbor", LARGE)))[number]
    found = inspect(data)
    assert (found.seal.state, found.is_faulty) == (SealState.TOO_LARGE, False)
    assert keep_marks(plain(), data, manifest=True) == plain()
