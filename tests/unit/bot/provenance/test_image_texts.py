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

from bot.provenance.image_texts import MAX_TEXT, MAX_TEXTS, NotAnImage, read_texts, user_comment
from tests.fakes.source_images import picture
from tests.unit.bot.provenance.marked_files import chunked

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
    assert read_texts(chunked(picture(), b"zTXt", b"parameters\0\0" + bomb)) == {}
    assert read_texts(chunked(picture(), b"iTXt", b"parameters\0\1\0\0\0" + bomb)) == {}
    assert (
        len(read_texts(chunked(picture(), b"zTXt", b"parameters\0\0" + zlib.compress(b"a" * MAX_TEXT)))["parameters"])
        == MAX_TEXT
    )


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
    chunked(picture(), b"tEXt", b"parameters\0Steps: 1"),
    chunked(picture(), b"zTXt", b"parameters\0\0" + zlib.compress(b"Steps: 1")),
    chunked(picture(), b"iTXt", b"parameters\0\1\0en\0\0" + zlib.compress(b"Steps: 1")),
    chunked(picture(), b"eXIf", exif_of(b"UNICODE\0" + TEXT.encode("utf-16-be"), ">")),
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
