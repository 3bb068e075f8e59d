"""Contact sheets: draws numbered thumbnails in a grid, and stores them as files."""

from __future__ import annotations

import asyncio
import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from bot.core.pictures import PictureFile
from bot.storage import data_files

CELL = 256
"""Side of a thumbnail's square in pixels."""

RETENTION_SECONDS = 86400
"""How long a sheet is stored: a notice that is sent later comes without it."""

_GAP = 8
_PAPER = (24, 24, 27)
_EMPTY = (52, 52, 58)
_INK = (255, 255, 255)
_LABEL = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Sheet:
    """An encoded PNG and its sides in pixels."""

    data: bytes
    width: int
    height: int


def contact_sheet(paths: Sequence[Path | None], *, cell: int = CELL, columns: int | None = None) -> Sheet:
    """Return the pictures' thumbnails, numbered from 1 in reading order. Blocks: run in a thread.

    Args:
        paths: The pictures' files; None, and an unreadable file, leave an empty square.
        cell: Side of each square in pixels; pictures are scaled to fit it.
        columns: Pictures per row; by default, the grid is as square as possible.

    Raises:
        ValueError: There are no pictures.
    """
    if not paths:
        raise ValueError("a contact sheet needs at least one picture")
    columns = columns or math.ceil(math.sqrt(len(paths)))
    columns = min(columns, len(paths))
    rows = math.ceil(len(paths) / columns)
    step = cell + _GAP
    sheet = Image.new("RGB", (columns * step + _GAP, rows * step + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=max(12, cell // 9))
    for index, path in enumerate(paths):
        left, top = _GAP + index % columns * step, _GAP + index // columns * step
        thumbnail = _thumbnail(path, cell)
        if thumbnail is None:
            draw.rectangle((left, top, left + cell - 1, top + cell - 1), fill=_EMPTY)
        else:
            sheet.paste(thumbnail, (left + (cell - thumbnail.width) // 2, top + (cell - thumbnail.height) // 2))
        _number(draw, (left, top), str(index + 1), font)
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return Sheet(out.getvalue(), sheet.width, sheet.height)


async def store(folder: Path, paths: Sequence[Path | None], alt: str) -> PictureFile:
    """Draw and store the contact sheet of these pictures; None leaves an empty square.

    Args:
        folder: The folder of contact sheets.
        paths: The pictures' files, at least one.
        alt: Alternative text.

    Raises:
        Unavailable: The disk is full, or the folder can't be written.
    """
    await data_files.clear_old(folder, data_files.SHEET_NAME, RETENTION_SECONDS)
    sheet = await asyncio.to_thread(contact_sheet, paths)
    name = f"{hashlib.sha256(sheet.data).hexdigest()[:24]}.png"
    path = await data_files.write(folder, name, sheet.data)
    return PictureFile(
        path=path, name="easel-history.png", mime="image/png", width=sheet.width, height=sheet.height, alt=alt
    )


def _thumbnail(path: Path | None, cell: int) -> Image.Image | None:
    if path is None:
        return None
    try:
        with Image.open(path) as picture:
            plain = ImageOps.exif_transpose(picture).convert("RGB")
    except (OSError, ValueError, SyntaxError):  # Pillow raises SyntaxError for some damaged files
        return None
    return ImageOps.contain(plain, (cell, cell), Image.Resampling.LANCZOS)


def _number(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], label: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    pad = 4
    at = (corner[0] + pad * 2, corner[1] + pad * 2)
    left, top, right, bottom = draw.textbbox(at, label, font=font)
    draw.rounded_rectangle((left - pad, top - pad, right + pad, bottom + pad), radius=pad, fill=_LABEL)
    draw.text(at, label, font=font, fill=_INK)
