"""Files of source images and masks: named by their content, stored as long as a job needs them."""

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
"""Their folder, in the data folder."""

DELETED = f"{FOLDER}/{data_files.DELETED_INPUT}"
"""Name in the row of a job whose source image was deleted: the job can't be drawn again."""

_TEMPORARY = ".part"

_LEFT_SECONDS = 3600
"""Older partial files were left by a crash; younger ones may belong to a request that is being admitted."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A file that is written under a temporary name.

    Attributes:
        name: Its final name, relative to the data folder.
        path: Its final path.
        temporary: Its present path.
    """

    name: str
    path: Path
    temporary: Path


def data_folder(pictures: Path) -> Path:
    """Return the data folder, which holds the pictures folder and which the names of source files are relative to."""
    return pictures.parent


def from_picture(pictures: Path, path: str) -> str:
    """Return the source name of a stored picture; ``path`` is relative to the pictures folder."""
    return f"{pictures.name}/{path}"


async def stage(pictures: Path, data: bytes) -> Staged:
    """Write a PNG under a temporary name. The caller has to call ``discard`` in the end, also after ``commit``.

    Raises:
        Unavailable: The disk is full, or the folder can't be written.
    """
    digest = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
    folder = data_folder(pictures) / FOLDER
    file = f"{digest}.png"
    temporary = await data_files.write(folder, f"{file}.{secrets.token_hex(4)}{_TEMPORARY}", data)
    return Staged(f"{FOLDER}/{file}", folder / file, temporary)


async def commit(staged: Staged) -> None:
    """Give the file its final name: in the transaction that stores the job, so that no sweep runs in between.

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
    """Remove the file unless it was committed."""
    await asyncio.to_thread(staged.temporary.unlink, missing_ok=True)


async def remove(pictures: Path, names: Collection[str]) -> None:
    """Remove files that no job needs any more; in the writing transaction that found them.

    Only names that Easel gives to source files are removed: a job's source may also be a stored picture, and rows may
    come from another machine's backup.
    """
    folder = data_folder(pictures) / FOLDER

    def clear() -> None:
        files = [name.removeprefix(f"{FOLDER}/") for name in names if name.startswith(f"{FOLDER}/")]
        data_files.unlink([folder / file for file in files if data_files.INPUT_NAME.fullmatch(file)])

    await asyncio.to_thread(clear)


@dataclass(frozen=True, slots=True)
class InputScan:
    """The source files in the folder, without links.

    Attributes:
        whole: Modification times of the complete files (Unix seconds, the file system's time), by path.
        half: Partial files that a crash has left.
    """

    whole: Mapping[Path, float]
    half: Sequence[Path]


async def scan(pictures: Path) -> InputScan:
    """Return the source files in the folder. Raises OSError if it can't be read."""

    def look() -> InputScan:
        # Modification times are the file system's, so they are compared with the machine's clock.
        left = time.time() - _LEFT_SECONDS
        files = data_files.list_files(data_folder(pictures) / FOLDER, data_files.INPUT_NAME)
        whole = {path: made for path, made in files if path.suffix == ".png"}
        return InputScan(whole, [path for path, made in files if path not in whole and made < left])

    return await asyncio.to_thread(look)
