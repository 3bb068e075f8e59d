"""Pictures as uploads: small ones enlarged, large ones compressed to the limit of a photo."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence

from aiogram.types import BufferedInputFile, FSInputFile, InputFile
from PIL import Image

from bot.core.pictures import PictureFile
from engine.contract import Profile

PHOTO_BYTES = 10 * 1000 * 1000
"""Just under the 10 MB that a photo may have (https://core.telegram.org/bots/api#sendphoto)."""
DOCUMENT_BYTES = 49 * 1000 * 1000
"""Just under the 50 MB that a document may have (https://core.telegram.org/bots/api#senddocument)."""
_LONGEST = 2560
"""Telegram keeps no photo larger than this, in pixels."""
_QUALITY = 92


async def photo(file: PictureFile, profiles: Sequence[Profile]) -> InputFile:
    """Return the picture as a photo; Telegram compresses it again. Raises OSError if the file can't be read."""
    return await asyncio.to_thread(_photo, file, _factor(file, profiles))


async def original(file: PictureFile) -> InputFile:
    """Return the stored file. Raises OSError if it can't be read."""
    await asyncio.to_thread(file.path.stat)
    return FSInputFile(file.path, filename=file.name)


def _factor(file: PictureFile, profiles: Sequence[Profile]) -> int:
    factor = file.enlargement(profiles)
    return factor if factor == 1 else max(1, min(factor, _LONGEST // max(file.width, file.height)))


def _photo(file: PictureFile, factor: int) -> InputFile:
    if factor == 1 and file.path.stat().st_size <= PHOTO_BYTES:
        return FSInputFile(file.path, filename=file.name)
    with Image.open(file.path) as stored:
        shown = stored.convert("RGB")
    if factor > 1:
        shown = shown.resize((shown.width * factor, shown.height * factor), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    shown.save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    return BufferedInputFile(buffer.getvalue(), filename=f"{file.path.stem}.jpg")
