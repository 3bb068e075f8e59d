"""Pictures as Telegram takes them."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from aiogram.types import BufferedInputFile, FSInputFile
from PIL import Image

from adapters.telegram.surface import PHOTO_BYTES, original, photo
from bot.core.pictures import PictureFile
from tests.unit.adapters.telegram.conftest import SMALL, picture


async def test_small_pictures_are_enlarged_as_their_profile_says(tmp_path: Path) -> None:
    shown = await photo(picture(tmp_path, 192, 128), (SMALL,))
    assert isinstance(shown, BufferedInputFile)
    with Image.open(io.BytesIO(shown.data)) as opened:
        assert opened.size == (768, 512)


async def test_pictures_of_other_sizes_are_shown_as_they_are(tmp_path: Path) -> None:
    file = picture(tmp_path, 512, 512)
    shown = await photo(file, (SMALL,))
    assert isinstance(shown, FSInputFile)
    assert shown.path == file.path


async def test_a_picture_above_the_limit_is_compressed(tmp_path: Path) -> None:
    path = tmp_path / "noise.png"
    Image.frombytes("RGB", (2048, 2048), os.urandom(2048 * 2048 * 3)).save(path)
    assert path.stat().st_size > PHOTO_BYTES
    shown = await photo(PictureFile(path, "noise.png", "image/png", 2048, 2048), (SMALL,))
    assert isinstance(shown, BufferedInputFile)
    assert len(shown.data) <= PHOTO_BYTES


async def test_the_original_is_the_file_itself(tmp_path: Path) -> None:
    file = picture(tmp_path)
    sent = await original(file)
    assert isinstance(sent, FSInputFile)
    assert (sent.path, sent.filename) == (file.path, file.name)


@pytest.mark.parametrize("send", [original, lambda file: photo(file, (SMALL,))])
async def test_a_lost_file_is_an_os_error(tmp_path: Path, send: object) -> None:
    assert callable(send)
    lost = PictureFile(tmp_path / "lost.png", "lost.png", "image/png", 192, 192)
    with pytest.raises(OSError, match=r"lost\.png"):
        await send(lost)
