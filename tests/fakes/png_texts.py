"""Reads the text chunks that provenance writes into a PNG."""

from __future__ import annotations

import io

from PIL import Image as PilImage
from PIL.PngImagePlugin import PngImageFile


def read_texts(data: bytes) -> dict[str, str]:
    """Return the text chunks of a PNG, also those behind the pixels."""
    with PilImage.open(io.BytesIO(data), formats=["PNG"]) as picture:
        assert isinstance(picture, PngImageFile)
        picture.load()
        return {str(keyword): str(text) for keyword, text in picture.text.items()}
