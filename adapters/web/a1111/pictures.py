"""Pictures of A1111's requests: base64 to files, masks fitted to their pictures, and answers' pictures as base64."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageOps

from adapters.web.a1111.errors import FieldProblem, InvalidBody
from adapters.web.errors import BodyTooLarge
from bot.core.image_parts import has_too_many_parts
from bot.core.requests import MAX_PICTURE_BYTES

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""Formats of masks that are fitted to their pictures; a mask of the picture's size is passed on as it is."""

MAX_PIXELS = 50_000_000
"""Most pixels of a mask that is fitted, checked in its header."""

_ORIENTATION, _SIDEWAYS = 0x0112, 5
_ADDRESSES = ("http://", "https://")


def picture_of(text: str, *where: str | int) -> bytes:
    """Return the file of a picture in base64, with or without ``data:image/png;base64,``.

    Args:
        text: The base64.
        where: The field, for the error.

    Raises:
        InvalidBody: It is no base64, or an address: Easel fetches no pictures for its clients.
        BodyTooLarge: The file has more than MAX_PICTURE_BYTES.
    """
    loc = ("body", *where)
    if text.startswith(_ADDRESSES):
        raise InvalidBody(
            [FieldProblem("value_error", loc, "Requests not allowed: send the picture itself, in base64")]
        )
    encoded = text.partition(",")[2] if text.startswith("data:") else text
    try:
        data = base64.b64decode(encoded)
    except (binascii.Error, ValueError):
        data = b""
    if not data:
        raise InvalidBody([FieldProblem("value_error", loc, "Invalid encoded image")])
    if len(data) > MAX_PICTURE_BYTES:
        limit = MAX_PICTURE_BYTES // 2**20
        raise BodyTooLarge("refusal.web.pictures_too_large", limit=limit, together=limit)
    return data


def fitted_mask(mask: bytes, picture: bytes, *, invert: bool) -> bytes:
    """Return a mask in the size of its picture, white where the picture is drawn anew. Blocking.

    Files that can't be read are returned as they are: admission refuses them with its own sentence.

    Args:
        mask: The mask's file.
        picture: The picture's file.
        invert: White is what stays.
    """
    if has_too_many_parts(picture) or has_too_many_parts(mask):
        return mask
    try:
        with Image.open(io.BytesIO(picture)) as found:
            sideways = found.getexif().get(_ORIENTATION, 1) >= _SIDEWAYS
            size = found.size[::-1] if sideways else found.size
        with Image.open(io.BytesIO(mask), formats=FORMATS) as found:
            if (found.size == size and not invert) or max(found.width * found.height, size[0] * size[1]) > MAX_PIXELS:
                return mask
            shades: Image.Image = found
            if found.has_transparency_data:
                rgba = found.convert("RGBA")
                shades = Image.alpha_composite(Image.new("RGBA", rgba.size, "black"), rgba)
            shades = shades.convert("L").resize(size)
        out = io.BytesIO()
        (ImageOps.invert(shades) if invert else shades).save(out, "PNG", compress_level=1)
    except Exception:  # noqa: BLE001 - Pillow's readers raise whatever the bytes lead them to
        return mask
    return out.getvalue()


@dataclass(frozen=True, slots=True)
class DrawnFile:
    """A drawn picture as an answer holds it: its file in base64, and the text about how it was drawn."""

    encoded: str = field(repr=False)
    infotext: str


def read_files(paths: Sequence[Path]) -> list[DrawnFile]:
    """Read drawn pictures. Blocking. Raises OSError."""
    found = []
    for path in paths:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as opened:
            infotext = str(opened.info.get("parameters", ""))
        found.append(DrawnFile(base64.b64encode(data).decode("ascii"), infotext))
    return found
