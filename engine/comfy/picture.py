"""Checks pictures that a ComfyUI server sends, and turns them into the PNG that the engine's contract asks for."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image as Pillow

from engine.contract import EngineError
from engine.diffusion.png import png

_FORMATS = ("PNG", "JPEG", "WEBP")

PREVIEW_SIDE = 256
"""Longest side of a preview, in pixels."""

PREVIEW_PIXELS = 4_000_000
"""Previews of more pixels are not read."""

_QUALITY = 80


class BadPicture(EngineError):
    """What the server sent is not the picture that was asked for."""


def encoded_bytes(width: int, height: int) -> int:
    """Return the most bytes that a picture's file may have: 16 bits for each of four channels, and the workflow in it."""
    return width * height * 8 + 2**22


def checked(data: bytes, width: int, height: int) -> bytes:
    """Return a picture as a lossless PNG without metadata. Blocking: some 50 ms for a megapixel.

    Args:
        data: The file, as the server sent it.
        width: Pixels that were asked for.
        height: Pixels that were asked for.

    Raises:
        BadPicture: It is no PNG, JPEG or WebP, can't be decoded, or has another size.
    """
    try:
        with Pillow.open(io.BytesIO(data), formats=_FORMATS) as found:
            # Only the header is read yet: no other size is decoded.
            if found.size != (width, height):
                raise BadPicture(
                    f"The ComfyUI server sent a picture of {found.width}x{found.height} pixels instead of "
                    f"{width}x{height}; the workflow must take {{width}} and {{height}}."
                )
            return png(np.asarray(_eight_bits(found).convert("RGB")))
    except BadPicture:
        raise
    except Exception as error:  # Pillow's readers raise many kinds of exceptions
        raise BadPicture(f"The ComfyUI server sent no picture that can be read ({type(error).__name__}).") from error


def preview(data: bytes) -> bytes | None:
    """Return a preview as a small JPEG; None where it is no picture. Blocking, some milliseconds."""
    try:
        with Pillow.open(io.BytesIO(data), formats=_FORMATS) as found:
            if found.width * found.height > PREVIEW_PIXELS:
                return None
            small = found.convert("RGB")
            small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
            out = io.BytesIO()
            small.save(out, "JPEG", quality=_QUALITY)
            return out.getvalue()
    except Exception:  # noqa: BLE001 - Pillow's readers raise many kinds of exceptions
        return None


def _eight_bits(found: Pillow.Image) -> Pillow.Image:
    """Return a grey picture of 16 bits with 8 bits; Pillow itself would cut its values off."""
    if not found.mode.startswith("I"):
        return found
    return Pillow.fromarray((np.asarray(found).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
