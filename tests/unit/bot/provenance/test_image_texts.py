"""Texts in PNG, JPEG and WebP files, whole, damaged and hostile."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bot.core.image_parts import NotAnImage
from bot.provenance import image_texts
from bot.provenance.image_texts import (
    MAX_ALL_TEXTS,
    MAX_EXIF_BLOCKS,
    MAX_TEXT,
    MAX_TEXTS,
    read_texts,
    user_comment,
)
from tests.fakes.hostile_files import chunk, png_with
from tests.fakes.source_images import picture

TEXT = "一只猫, a cat\nSteps: 20, Sampler: Euler a, Seed: 1"


def exif_of(comment: bytes, order: str = "<", kind: int = 7) -> bytes:
    """An Exif block with a comment, in one of the byte orders."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    below = struct.pack(f"{order}HHHII", 1, 0x8769, 4, 1, 26) + struct.pack(f"{order}I", 0)
    entry = struct.pack(f"{order}HHHII", 1, 0x9286, kind, len(comment), 44) + struct.pack(f"{order}I", 0)
    return head + below + entry + comment


def test_all_kinds_of_text_chunks() -> None:
    info = PngInfo()
    info.add_text("plain", "café")
    info.add_text("packed", "a" * 5000, zip=True)
    info.add_itxt("wide", TEXT)
    info.add_itxt("wide packed", TEXT, zip=True)
    info.add_text("plain", "the second one does not count")
    out = io.BytesIO()
    Image.new("RGB", (9, 9)).save(out, "PNG", pnginfo=info)
    expected = {"plain": "café", "packed": "a" * 5000, "wide": TEXT, "wide packed": TEXT}
    assert read_texts(out.getvalue()) == expected


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le", "utf-16"])
def test_comments_of_exif_in_each_byte_order(order: str, encoding: str) -> None:
    comment = b"UNICODE\0" + TEXT.encode(encoding)
    exif = exif_of(comment, order)
    for form in ("JPEG", "WEBP", "PNG"):
        data = picture(form=form, exif=b"Exif\0\0" + exif)
        assert read_texts(data) == {"UserComment": TEXT}, form


@pytest.mark.parametrize(
    "comment", [b"ASCII\0\0\0Steps: 1\0", b"\0" * 8 + b"Steps: 1", b"Steps: 1", b"JIS\0\0\0\0\0Steps: 1"]
)
def test_comments_of_exif_in_other_codes(comment: bytes) -> None:
    assert user_comment(comment, big_endian=True) == "Steps: 1"


def test_pillows_exif_and_a_jpegs_comment() -> None:
    exif = Image.Exif()
    exif[0x010F] = 'workflow:{"nodes": []}'
    exif[0x0110] = 'prompt:{"1": {}}'
    exif[0x010E] = "a cat"
    data = picture(form="JPEG", exif=exif, comment=b"made by hand")
    expected = {
        "workflow": '{"nodes": []}',
        "prompt": '{"1": {}}',
        "ImageDescription": "a cat",
        "Comment": "made by hand",
    }
    assert read_texts(data) == expected


def test_texts_that_are_too_large_are_left_out() -> None:
    bomb = zlib.compress(b"a" * (MAX_TEXT + 1), 9)
    assert read_texts(png_with(chunk(b"zTXt", b"parameters\0\0" + bomb))) == {}
    assert read_texts(png_with(chunk(b"iTXt", b"parameters\0\1\0\0\0" + bomb))) == {}
    assert (
        len(read_texts(png_with(chunk(b"zTXt", b"parameters\0\0" + zlib.compress(b"a" * MAX_TEXT))))["parameters"])
        == MAX_TEXT
    )


class Unpacked:
    """zlib's unpacker, which counts the bytes that come out of it."""

    total = 0
    _real = staticmethod(zlib.decompressobj)

    def __init__(self) -> None:
        self._one = self._real()

    def decompress(self, data: bytes, most: int) -> bytes:
        text = self._one.decompress(data, most)
        Unpacked.total += len(text)
        return text

    def __getattr__(self, name: str) -> object:
        return getattr(self._one, name)


@pytest.mark.parametrize("end", [b"", b"\0", b"damaged"])
def test_many_packed_texts_are_not_all_unpacked(end: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zlib, "decompressobj", Unpacked)
    Unpacked.total = 0
    size = MAX_TEXT + (1 if end else 0)
    one = chunk(b"zTXt", b"parameters\0\0" + zlib.compress(b"a" * size, 9) + end)
    read_texts(png_with(one * 100))
    assert 0 < Unpacked.total <= MAX_ALL_TEXTS + MAX_TEXT


def test_what_comes_first_is_read_all_the_same() -> None:
    first = chunk(b"tEXt", b"parameters\0Steps: 1")
    bomb = chunk(b"zTXt", b"x\0\0" + zlib.compress(b"a" * MAX_TEXT, 9))
    assert read_texts(png_with(first, *[bomb] * 20))["parameters"] == "Steps: 1"


def test_few_blocks_and_values_of_exif_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[int] = []
    read = image_texts._ascii

    def count(keyword: str, value: bytes) -> tuple[str, str]:
        copied.append(len(value))
        return read(keyword, value)

    monkeypatch.setattr(image_texts, "_ascii", count)
    # All entries of a block point to the same mebibyte.
    entries = b"".join(struct.pack(">HHII", 0x010E, 2, 2**20, 20_000) for _ in range(900))
    block = b"MM\0*" + struct.pack(">IH", 8, 900) + entries + b"a" * 2**20 + b"a" * 20_000
    read_texts(png_with(chunk(b"eXIf", block)))
    assert len(copied) > 1
    assert sum(copied) <= MAX_ALL_TEXTS
    copied.clear()
    small = b"MM\0*" + struct.pack(">IHHHII", 8, 1, 0x010E, 2, 4, 0x61616161)
    read_texts(png_with(chunk(b"eXIf", small) * 100))
    assert len(copied) == MAX_EXIF_BLOCKS


def test_no_more_than_the_most_texts() -> None:
    info = PngInfo()
    for number in range(MAX_TEXTS + 5):
        info.add_text(f"text {number}", "a")
    out = io.BytesIO()
    Image.new("RGB", (9, 9)).save(out, "PNG", pnginfo=info)
    assert len(read_texts(out.getvalue())) == MAX_TEXTS


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"<svg/>", b"RIFF\0\0\0\0WAVE", b"\x89PNG"])
def test_other_files(data: bytes) -> None:
    with pytest.raises(NotAnImage):
        read_texts(data)


WHOLE = [
    png_with(chunk(b"tEXt", b"parameters\0Steps: 1")),
    png_with(chunk(b"zTXt", b"parameters\0\0" + zlib.compress(b"Steps: 1"))),
    png_with(chunk(b"iTXt", b"parameters\0\1\0en\0\0" + zlib.compress(b"Steps: 1"))),
    png_with(chunk(b"eXIf", exif_of(b"UNICODE\0" + TEXT.encode("utf-16-be"), ">"))),
    picture(form="JPEG", exif=b"Exif\0\0" + exif_of(b"UNICODE\0" + TEXT.encode("utf-16-le"))),
    picture(form="WEBP", exif=exif_of(b"ASCII\0\0\0Steps: 1")),
]


@given(data=st.data())
def test_damaged_files_never_fail(data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from(WHOLE)))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(12, len(whole) - 1))
        whole[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    for text in read_texts(bytes(whole)).values():
        assert isinstance(text, str)


@given(head=st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP"]), rest=st.binary(max_size=300))
def test_arbitrary_bytes_never_fail(head: bytes, rest: bytes) -> None:
    read_texts(head + rest)
