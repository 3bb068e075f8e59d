"""Contact sheets of the history, as files: made when looked at, kept for a day for those who are slow to send them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path

from bot.core.pictures import PictureFile
from bot.history.contact_sheet import contact_sheet
from bot.storage import blobs
from bot.storage.paths import SHEET

KEPT_SECONDS = 86400
"""A stored notice that shows a sheet is sent within this time, or without it."""


async def sheet_of(folder: Path, paths: Sequence[Path | None], alt: str) -> PictureFile:
    """Return the contact sheet of these pictures (None leaves a square empty).

    Args:
        folder: Where sheets are kept; nothing else may be in it.
        paths: The pictures' files, at least one.
        alt: What it shows, in words.

    Raises:
        Unavailable: The disk is full, or the folder can't be written.
    """
    await blobs.clear_old(folder, SHEET, KEPT_SECONDS)
    sheet = await asyncio.to_thread(contact_sheet, paths)
    name = f"{hashlib.sha256(sheet.data).hexdigest()[:24]}.png"
    path = await blobs.write(folder, name, sheet.data)
    return PictureFile(
        path=path, name="easel-history.png", mime="image/png", width=sheet.width, height=sheet.height, alt=alt
    )
