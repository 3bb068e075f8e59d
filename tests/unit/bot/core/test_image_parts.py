"""Parts of files: sizes as Pillow reads them, and files of more parts than programs write."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bot.core.image_parts import (
    MAX_EXIF_SEGMENTS,
    MAX_PARTS,
    ImageHeader,
    NotAnImage,
    TooManyParts,
    has_too_many_parts,
    parts,
    read_header,
)
from tests.fakes.hostile_files import chunk, jpeg_with, png_with, segment, webp_with
from tests.fakes.source_images import picture

KINDS = ("PNG", "JPEG", "WEBP")


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"xmp": b"<x/>"}),
        ("WEBP", {"xmp": b"<x/>", "lossless": True}),
    ],
)
@pytest.mark.parametrize("size", [(1, 1), (96, 64), (3, 5000)])
def test_the_size_is_that_of_the_header(kind: str, options: dict[str, bytes | bool], size: tuple[int, int]) -> None:
    out = io.BytesIO()
    Image.new("RGB", size).save(out, kind, **options)
    assert read_header(out.getvalue()) == ImageHeader(kind, *size)


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP"])
def test_a_file_without_a_header_is_refused(data: bytes) -> None:
    with pytest.raises(NotAnImage):
        read_header(data)


@given(kind=st.sampled_from(KINDS), at=st.integers(0, 400), value=st.integers(0, 255), end=st.integers(0, 1000))
def test_damaged_files_have_a_header_or_none(kind: str, at: int, value: int, end: int) -> None:
    data = bytearray(picture(form=kind))
    data[at % len(data)] = value
    try:
        found = read_header(bytes(data[:end]))
    except NotAnImage:
        return
    assert found.width > 0
    assert found.height > 0


MANY = {
    "chunks": png_with(chunk(b"aaAa", b"") * MAX_PARTS),
    "chunks with digits in their names": png_with(chunk(b"a1_a", b"") * MAX_PARTS),
    "segments": jpeg_with(segment(0xE2, b"") * MAX_PARTS),
    "fill bytes": jpeg_with(b"\xff" * (MAX_PARTS + 1)),
    "markers without a length": jpeg_with(b"\xff\xd0" * MAX_PARTS),
    "Exif": jpeg_with(segment(0xE1, b"Exif\0\0a") * (MAX_EXIF_SEGMENTS + 1)),
    # Decoders skip what is no marker.
    "Exif behind bytes that are no marker": jpeg_with(
        segment(0xE2, b"") + b"ab\0" + segment(0xE1, b"Exif\0\0a") * (MAX_EXIF_SEGMENTS + 1)
    ),
    "chunks of WebP": webp_with(*[(b"EXIF", b"", None)] * MAX_PARTS),
}


@pytest.mark.parametrize("name", MANY)
def test_a_file_of_too_many_parts_is_noticed(name: str) -> None:
    assert has_too_many_parts(MANY[name])
    with pytest.raises(TooManyParts):
        list(parts(MANY[name])[1])


@pytest.mark.parametrize("data", [*(picture(form=kind) for kind in KINDS), b"", b"GIF89a" * 9, png_with()[:50]])
def test_other_files_have_not_too_many(data: bytes) -> None:
    assert not has_too_many_parts(data)


def test_parts_are_found_behind_bytes_that_are_no_marker() -> None:
    data = jpeg_with(segment(0xE2, b""), b"ab\0\xff\xff", segment(0xFE, b"hello"))
    assert [data[start:end] for name, start, end in parts(data)[1] if name == b"\xfe"] == [b"hello"]
