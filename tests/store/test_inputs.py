"""Given pictures as files: named by what is in them, there once their job is, swept once nobody names them."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from bot.model.errors import Unavailable
from bot.store import inputs

DATA = b"a picture"
NAME = f"inputs/{hashlib.sha256(DATA).hexdigest()}.png"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "pictures"


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder.parent / "inputs").iterdir())


async def test_a_file_has_its_name_once_it_is_kept(folder: Path) -> None:
    staged = await inputs.stage(folder, DATA)
    assert (staged.name, staged.path.exists()) == (NAME, False)
    await inputs.keep(staged)
    await inputs.discard(staged)
    assert (inputs.data_folder(folder) / staged.name).read_bytes() == DATA
    assert files(folder) == [Path(NAME).name]


async def test_the_same_picture_is_one_file_and_one_refusal_does_not_take_it_away(folder: Path) -> None:
    one, two = await inputs.stage(folder, DATA), await inputs.stage(folder, DATA)
    await inputs.keep(one)
    await inputs.discard(two)
    await inputs.discard(one)
    assert files(folder) == [Path(NAME).name]


async def test_what_no_job_names_is_swept_and_what_comes_in_now_is_not(folder: Path) -> None:
    assert await inputs.sweep(folder, ()) == 0
    for data in (DATA, b"another"):
        await inputs.keep(await inputs.stage(folder, data))
    young, old = await inputs.stage(folder, b"young"), await inputs.stage(folder, b"old")
    hours_ago = time.time() - 7200
    os.utime(old.temporary, (hours_ago, hours_ago))
    assert await inputs.sweep(folder, {NAME}) == 2
    assert files(folder) == sorted([Path(NAME).name, young.temporary.name])


async def test_a_folder_that_can_not_be_written(folder: Path) -> None:
    (folder.parent / "inputs").write_text("no folder")
    with pytest.raises(Unavailable) as refused:
        await inputs.stage(folder, DATA)
    assert refused.value.key == "unavailable.pictures.unwritable"


def test_a_stored_picture_is_named_from_the_data_folder(folder: Path) -> None:
    name = inputs.of_picture(folder, "2026/01/02/3-0.png")
    assert inputs.data_folder(folder) / name == folder / "2026/01/02/3-0.png"
