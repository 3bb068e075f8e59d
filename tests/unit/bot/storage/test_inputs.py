"""Given pictures as files: named by what is in them, there once their job is, swept once nobody names them."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from bot.core.errors import Unavailable
from bot.storage import inputs

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
    await inputs.commit(staged)
    await inputs.discard(staged)
    assert (inputs.data_folder(folder) / staged.name).read_bytes() == DATA
    assert files(folder) == [Path(NAME).name]


async def test_the_same_picture_is_one_file_and_one_refusal_does_not_take_it_away(folder: Path) -> None:
    one, two = await inputs.stage(folder, DATA), await inputs.stage(folder, DATA)
    await inputs.commit(one)
    await inputs.discard(two)
    await inputs.discard(one)
    assert files(folder) == [Path(NAME).name]


async def test_what_is_easels_is_found_and_what_comes_in_now_is_no_rest_of_a_kill(folder: Path) -> None:
    assert await inputs.scan(folder) == inputs.InputScan({}, [])
    await inputs.commit(await inputs.stage(folder, DATA))
    young, old = await inputs.stage(folder, b"young"), await inputs.stage(folder, b"old")
    hours_ago = time.time() - 7200
    os.utime(old.temporary, (hours_ago, hours_ago))
    strange = folder.parent / "inputs" / "holiday.png"
    strange.write_bytes(b"mine")
    (folder.parent / "inputs" / f"{'b' * 64}.png").symlink_to(strange)
    found = await inputs.scan(folder)
    assert [path.name for path in found.whole] == [Path(NAME).name]
    assert found.half == [old.temporary]
    assert young.temporary.exists()


async def test_only_names_of_easels_are_removed(folder: Path) -> None:
    await inputs.commit(await inputs.stage(folder, DATA))
    victims = [folder.parent / "inputs" / "holiday.png", folder.parent / "letter.png"]
    for victim in victims:
        victim.write_bytes(b"mine")
    await inputs.remove(folder, [NAME, "inputs/holiday.png", "inputs/../letter.png", str(victims[1]), inputs.DELETED])
    assert files(folder) == ["holiday.png"]
    assert victims[1].exists()


async def test_a_folder_that_can_not_be_written(folder: Path) -> None:
    (folder.parent / "inputs").write_text("no folder")
    with pytest.raises(Unavailable) as refused:
        await inputs.stage(folder, DATA)
    assert refused.value.key == "unavailable.pictures.unwritable"


def test_a_stored_picture_is_named_from_the_data_folder(folder: Path) -> None:
    name = inputs.from_picture(folder, "2026/01/02/3-0.png")
    assert inputs.data_folder(folder) / name == folder / "2026/01/02/3-0.png"
