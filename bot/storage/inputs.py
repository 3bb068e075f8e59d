"""Pictures that people give to start from, as files: named by what is in them, kept as long as a job names them."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.storage import data_files

FOLDER = data_files.INPUTS
"""Where they lie in the data folder."""

DELETED = f"{FOLDER}/unkept"
"""Stands in a job for a file that is not kept any more: it can't be drawn again."""

_TEMPORARY = ".part"

_LEFT_SECONDS = 3600
"""A half-written file that is older was left by a kill; younger ones may be somebody's request that comes in now."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A file that is on the disk, under a name that nobody looks for yet.

    Attributes:
        name: What it will be called, relative to the data folder.
        path: Where it will be.
        temporary: Where it is.
    """

    name: str
    path: Path
    temporary: Path


def data_folder(pictures: Path) -> Path:
    """Return the data folder, which the names of files to start from are relative to: the pictures' folder lies in it."""
    return pictures.parent


def from_picture(pictures: Path, path: str) -> str:
    """Return a stored picture's name as one to start from; ``path`` is relative to the pictures folder."""
    return f"{pictures.name}/{path}"


async def stage(pictures: Path, data: bytes) -> Staged:
    """Write a PNG so that ``keep`` only has to rename it. Whoever calls this calls ``discard`` in the end.

    Raises:
        Unavailable: The disk is full, or the folder can't be written.
    """
    digest = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
    folder = data_folder(pictures) / FOLDER
    file = f"{digest}.png"
    temporary = await data_files.write(folder, f"{file}.{secrets.token_hex(4)}{_TEMPORARY}", data)
    return Staged(f"{FOLDER}/{file}", folder / file, temporary)


async def commit(staged: Staged) -> None:
    """Give the file its name: in the transaction that stores the job, so that no sweep comes between.

    Raises:
        Unavailable: The folder can't be written.
    """

    def rename() -> None:
        staged.temporary.replace(staged.path)
        data_files.sync_folder(staged.path.parent)

    try:
        await asyncio.to_thread(rename)
    except OSError as e:
        raise data_files.unwritable(staged.path.parent) from e


async def discard(staged: Staged) -> None:
    """Remove the file unless it was kept."""
    await asyncio.to_thread(staged.temporary.unlink, missing_ok=True)


async def remove(pictures: Path, names: Collection[str]) -> None:
    """Remove files that no job names any more; in the writing transaction in which that was seen.

    Names of stored pictures, which jobs may start from too, are left to whoever keeps those; so is everything that is no
    name of Easel's, since rows may come out of a foreign backup.
    """
    folder = data_folder(pictures) / FOLDER

    def clear() -> None:
        files = [name.removeprefix(f"{FOLDER}/") for name in names if name.startswith(f"{FOLDER}/")]
        data_files.unlink([folder / file for file in files if data_files.INPUT_NAME.fullmatch(file)])

    await asyncio.to_thread(clear)


@dataclass(frozen=True, slots=True)
class InputScan:
    """What lies in the folder under names that Easel gives, without links: whole files and when each was written (the
    disk's time), and half-written ones that nobody writes any more.
    """

    whole: Mapping[Path, float]
    half: Sequence[Path]


async def scan(pictures: Path) -> InputScan:
    """Return what is there. Raises OSError when the folder can't be read."""

    def look() -> InputScan:
        # Files' times are the disk's, so they are compared with the machine's clock.
        left = time.time() - _LEFT_SECONDS
        files = data_files.list_files(data_folder(pictures) / FOLDER, data_files.INPUT_NAME)
        whole = {path: made for path, made in files if path.suffix == ".png"}
        return InputScan(whole, [path for path, made in files if path not in whole and made < left])

    return await asyncio.to_thread(look)
