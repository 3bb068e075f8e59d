"""Files of pictures: whole or absent, durable, and swept when no row knows them."""

from __future__ import annotations

import asyncio
import errno
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.core.errors import Unavailable
from bot.storage import data_files

AT = datetime(2026, 3, 9, 23, 59, tzinfo=UTC).timestamp()


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def test_the_name_says_when_it_was_asked_for() -> None:
    assert data_files.picture_path(12, 3, AT) == "2026/03/09/12-3.png"


async def test_written_read_and_replaced(tmp_path: Path) -> None:
    path = await data_files.write(tmp_path / "pictures", data_files.picture_path(1, 0, AT), b"one")
    assert path == tmp_path / "pictures" / "2026" / "03" / "09" / "1-0.png"
    assert path.read_bytes() == b"one"
    await data_files.write(tmp_path / "pictures", data_files.picture_path(1, 0, AT), b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["1-0.png"]


@pytest.mark.skipif(os.name != "posix", reason="only POSIX syncs folders")
async def test_data_is_synced_before_the_rename_and_the_folder_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        order.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")  # noqa: PTH112 - a descriptor
        fsync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        order.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    await data_files.write(tmp_path, "2026/03/09/1-0.png", b"x")
    assert order == ["file", "rename", "folder", "folder", "folder", "folder"]
    order.clear()
    await data_files.write(tmp_path, "2026/03/09/1-1.png", b"x")
    assert order == ["file", "rename", "folder"]


@pytest.mark.parametrize(
    ("number", "key"), [(errno.ENOSPC, "unavailable.disk_full"), (errno.EACCES, "unavailable.pictures.unwritable")]
)
async def test_what_goes_wrong_is_a_sentence_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, key: str
) -> None:
    path = await data_files.write(tmp_path, "a/1-0.png", b"old")

    def fail(descriptor: int) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(Unavailable) as refused:
        await data_files.write(tmp_path, "a/1-0.png", b"new")
    assert refused.value.key == key
    assert path.read_bytes() == b"old"
    assert files(tmp_path) == ["1-0.png"]


async def test_the_same_file_written_many_times_at_once(tmp_path: Path) -> None:
    await asyncio.gather(*(data_files.write(tmp_path, "a/1-0.png", b"same") for _ in range(8)))
    assert (tmp_path / "a" / "1-0.png").read_bytes() == b"same"
    assert files(tmp_path) == ["1-0.png"]


async def test_free_bytes_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert await data_files.free_bytes(tmp_path / "a" / "b") > 0
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable):
        await data_files.free_bytes(tmp_path / "file")


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
async def test_files_and_folders_are_for_their_owner_alone(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        path = await data_files.write(tmp_path / "pictures", data_files.picture_path(1, 0, AT), b"x")
        await data_files.free_bytes(tmp_path / "other" / "pictures")
        shared = await data_files.write(tmp_path, "apple.png", b"x", mode=0o666)
    finally:
        os.umask(old)
    made = [path, *list(path.parents)[:4], tmp_path / "other", tmp_path / "other" / "pictures"]
    assert [p.stat().st_mode & 0o777 for p in made] == [0o600, *[0o700] * 6]
    assert shared.stat().st_mode & 0o777 == 0o644


async def test_rows_remove_only_what_easel_has_named_and_never_through_links(tmp_path: Path) -> None:
    folder, outside = tmp_path / "data" / "pictures", tmp_path / "outside"
    outside.mkdir()
    victims = [tmp_path / "letter.png", folder / "holiday.png", outside / "1-0.png", outside / "09" / "1-0.png"]
    own = await data_files.write(folder, data_files.picture_path(1, 0, AT), b"x")
    for victim in victims:
        victim.parent.mkdir(exist_ok=True)
        victim.write_bytes(b"mine")
    (folder / "2026" / "04").symlink_to(outside)
    names = [
        "../../letter.png",
        str(victims[0]),
        "holiday.png",
        "2026/04/09/1-0.png",
        "2026/03/09/../../../holiday.png",
    ]
    await data_files.remove_pictures(folder, [*names, own.relative_to(folder).as_posix()])
    assert not own.exists()
    assert [victim.read_bytes() for victim in victims] == [b"mine"] * 4
    assert not await data_files.exists(folder, "2026/04/09/1-0.png")
    assert not await data_files.exists(folder, "../../letter.png")


async def test_old_files_are_cleared_by_their_names(tmp_path: Path) -> None:
    sheet, half = f"{'a' * 24}.png", f"{'b' * 24}.png.01234567.part"
    for name in (sheet, half, "holiday.png", "notes.txt", f"{'c' * 24}.png"):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (1, 1))
    os.utime(tmp_path / f"{'c' * 24}.png")
    (tmp_path / f"{'d' * 24}.png").symlink_to(tmp_path / "notes.txt")
    await data_files.clear_old(tmp_path, data_files.SHEET_NAME, 60)
    assert files(tmp_path) == [f"{'c' * 24}.png", f"{'d' * 24}.png", "holiday.png", "notes.txt"]


async def test_removing_twice_is_no_error(tmp_path: Path) -> None:
    path = await data_files.write(tmp_path, "a/1-0.png", b"x")
    await data_files.remove(tmp_path, "a/1-0.png")
    await data_files.remove(tmp_path, "a/1-0.png")
    assert not path.exists()
