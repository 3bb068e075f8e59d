"""Reads PNGs as provenance writes them: their text chunks, and their pixels for comparisons."""

from __future__ import annotations

import io
import struct

from PIL import Image as PilImage
from PIL.PngImagePlugin import PngImageFile


def read_texts(data: bytes) -> dict[str, str]:
    """Return the text chunks of a PNG, also those behind the pixels."""
    with PilImage.open(io.BytesIO(data), formats=["PNG"]) as picture:
        assert isinstance(picture, PngImageFile)
        picture.load()
        return {str(keyword): str(text) for keyword, text in picture.text.items()}


def pixels(data: bytes) -> bytes:
    """The chunks of a PNG that hold its size and its pixels: equal for files that differ in their texts alone."""
    kept, position = [], 8
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        if data[position + 4 : position + 8] in {b"IHDR", b"PLTE", b"IDAT"}:
            kept.append(data[position : position + 12 + length])
        position += 12 + length
    return b"".join(kept)
