"""The visible label: a short text in a corner of a picture that says that a model drew it."""

from __future__ import annotations

import io
import math
import zlib
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

CHINESE, ENGLISH = "AI生成", "AI generated"
"""The texts. GB 45438-2025 asks for a word for AI and a word for making; the font has these glyphs alone."""

SHARE = 0.055
"""Height of the glyphs' bounding box as a share of the shorter side. GB 45438-2025, clause 5.2, asks for 0.05."""

_LEAST_PIXELS = 14
"""Smaller glyphs can't be read, so small pictures have a larger share of them, if the text fits."""

_WIDEST, _HIGHEST = 0.8, 0.3
"""Most of a small picture's width and height that the text may take."""

_FONT = Path(__file__).parent / "fonts" / "label.otf"
_GROUND, _TEXT = (0, 0, 0, 176), (255, 255, 255, 255)
"""White on a dark plate is legible on any picture: the contrast is 7:1 on a white one."""


def label_text(locale: str, *, aigc: bool) -> str:
    """Return the text of a label: Chinese in China's mode and for people who read Chinese, else English.

    Args:
        locale: Language of the person's cards (BCP 47).
        aigc: Whether the file has an AIGC label of this Easel.
    """
    return CHINESE if aigc or locale.lower().startswith("zh") else ENGLISH


def draw_label(data: bytes, text: str) -> bytes:
    """Return a PNG with the label in its lower right corner. It decodes and encodes: run in a thread.

    A label that is drawn at the same place again, as when a labelled picture is enlarged, covers the one before.

    Args:
        data: A PNG.
        text: CHINESE or ENGLISH.

    Raises:
        OSError: The picture is damaged.
    """
    with Image.open(io.BytesIO(data), formats=("PNG",)) as opened:
        picture = opened.convert("RGB")
    font = _font(text, *picture.size)
    left, top, right, bottom = font.getbbox(text)
    width, height = right - left, bottom - top
    pad, margin = height * 0.35, height * 0.4
    x, y = picture.width - margin - pad - width, picture.height - margin - pad - height
    plate = (max(0, x - pad), max(0, y - pad), picture.width - margin, picture.height - margin)
    layer = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    draw.rounded_rectangle(plate, radius=pad, fill=_GROUND)
    draw.text((max(0, x) - left, max(0, y) - top), text, font=font, fill=_TEXT)
    picture.paste(layer, mask=layer)
    out = io.BytesIO()
    # As small as by default, in a third of the time.
    picture.save(out, "PNG", compress_type=zlib.Z_RLE)
    return out.getvalue()


def _font(text: str, width: int, height: int) -> ImageFont.FreeTypeFont:
    """Return the font in the smallest size whose glyphs are high enough for a picture."""
    needed = SHARE * min(width, height)
    for pixels in range(_LEAST_PIXELS, math.ceil(needed), -1):
        font = _font_of_height(text, pixels)
        left, top, right, bottom = font.getbbox(text)
        if right - left <= _WIDEST * width and bottom - top <= _HIGHEST * height:
            return font
    return _font_of_height(text, needed)


def _font_of_height(text: str, pixels: float) -> ImageFont.FreeTypeFont:
    size = max(1, int(pixels))
    while (box := (font := _loaded(size)).getbbox(text))[3] - box[1] < pixels:
        size += 1
    return font


@cache
def _loaded(size: int) -> ImageFont.FreeTypeFont:
    # The plain layout needs no library beside FreeType, and draws the same everywhere.
    return ImageFont.truetype(str(_FONT), size, layout_engine=ImageFont.Layout.BASIC)
