"""Files of the data folder: their names, their permissions, durable writes and safe lookup."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from bot.core.errors import Unavailable

log = logging.getLogger(__name__)

PICTURES = "pictures"
"""Where pictures lie in the data folder."""

INPUTS = "inputs"
"""Where pictures that people give lie in the data folder."""

SHEETS = "sheets"
"""Where contact sheets lie in the data folder."""

EXPORTS = "exports"
"""Where exports lie in the data folder."""

PICTURE_PATH = re.compile(r"\d{4}/\d{2}/\d{2}/(\d{1,18})-(\d{1,4})\.png", re.ASCII)
"""A picture's path in the pictures folder: its day, its job and its index."""

INPUT_NAME = re.compile(r"[0-9a-f]{64}\.png", re.ASCII)
"""What somebody gave to start from, in its folder: named by its SHA-256."""

SHEET_NAME = re.compile(r"[0-9a-f]{24}\.png", re.ASCII)
"""A contact sheet in its folder."""

EXPORT_NAME = re.compile(r"\d{1,18}-\d{1,6}\.zip", re.ASCII)
"""A part of an export in its folder."""

PARTIAL = re.compile(r"(\.[0-9a-f]{8})?\.part", re.ASCII)
"""What stands behind the name of a file that is not whole yet."""

NO_FILE = "0000/00/00/0-0.png"
"""Stands for a path that no picture can have: there never is such a file."""


def is_confined(path: str) -> bool:
    """Whether a relative path with ``/`` stays inside the folder that it is relative to; links are not looked at."""
    return not set(path) & {"\\", "\0", ":"} and all(part not in {"", ".", ".."} for part in path.split("/"))


def is_partial(name: str, whole: re.Pattern[str]) -> bool:
    """Whether this is the name of a half-written file whose whole name matches."""
    match = re.fullmatch(rf"({whole.pattern})(({PARTIAL.pattern})+)", name, re.ASCII)
    return match is not None


def is_linked(folder: Path, path: str) -> bool:
    """Whether anything on the way from a folder to ``path`` is a link; the folder itself may be one. For a thread."""
    place = folder
    for part in path.split("/"):
        place = place / part
        if place.is_symlink():
            return True
    return False


def regular_file(folder: Path, path: str) -> Path | None:
    """Return where a regular file inside a folder is; None for everything else, links among it. For a thread.

    Args:
        folder: A folder of Easel's; it may be a link itself.
        path: Relative to it, with ``/``.
    """
    if not is_confined(path) or is_linked(folder, path):
        return None
    place = folder / path
    try:
        return place if stat.S_ISREG(place.lstat().st_mode) else None
    except OSError:
        return None


def locate(pictures: Path, name: str) -> Path | None:
    """Return the file behind a name that is relative to the data folder, as jobs keep it: a picture, or what was given.

    None where there is none, or where it does not lie inside the folder that it belongs in. For a thread.
    """
    folder, _, rest = name.partition("/")
    if folder == pictures.name:
        return regular_file(pictures, rest)
    return regular_file(pictures.parent / INPUTS, rest) if folder == INPUTS else None


def is_source(name: str, pictures: str) -> bool:
    """Whether this is a name that Easel writes into a job for a file to start from."""
    folder, _, rest = name.partition("/")
    if folder == pictures:
        return PICTURE_PATH.fullmatch(rest) is not None
    return folder == INPUTS and (INPUT_NAME.fullmatch(rest) is not None or rest == "unkept")


def is_card_file(name: str, pictures: str) -> bool:
    """Whether a path, relative to the data folder, is one that Easel writes into a stored card."""
    folder, _, rest = name.partition("/")
    patterns = {pictures: PICTURE_PATH, SHEETS: SHEET_NAME, EXPORTS: EXPORT_NAME}
    return folder in patterns and patterns[folder].fullmatch(rest) is not None


def is_sendable(pictures: Path, path: Path) -> bool:
    """Whether a stored card's file is one of Easel's own, in this data folder and without links. For a thread.

    A row may come out of somebody else's backup: it must not name any file of this machine.
    """
    data = pictures.parent.absolute()
    try:
        name = Path(os.path.normpath(path.absolute())).relative_to(os.path.normpath(data)).as_posix()
    except ValueError:
        return False
    folder, _, rest = name.partition("/")
    return is_card_file(name, pictures.name) and not is_linked(data / folder, rest)


FILE_MODE, FOLDER_MODE = 0o600, 0o700

PICTURE_NAME = re.compile(r"\d{1,18}-\d{1,4}\.png", re.ASCII)
"""A picture's name in the folder of its day."""

_OTHERS = 0o077


def make_folder(path: Path) -> None:
    """Make a folder and the ones above it that are missing, for their owner alone. Raises OSError."""
    missing = []
    place = path
    while not place.exists():
        missing.append(place)
        place = place.parent
    for folder in reversed(missing):
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    path.mkdir(exist_ok=True)  # raises where it is no folder


def open_new(path: Path, mode: int = FILE_MODE) -> BinaryIO:
    """Open a file to be written from its beginning; never through a link. Raises OSError.

    Args:
        path: The file.
        mode: Its permissions where it is new, less the umask; its owner alone may read it otherwise.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, mode), "wb")


def restrict_permissions(data: Path, pictures: str = PICTURES) -> int:
    """Take from others what they may do with the files that Easel has made in its data folder; returns how many.

    Earlier versions wrote pictures for everybody to read. Links are not followed, and files that Easel did not make stay
    as they are. For a thread.
    """
    if os.name != "posix":
        return 0
    done = 0
    for path in _made(data, pictures):
        try:
            done += _take(path)
        except FileNotFoundError:
            continue  # not made yet
        except OSError as error:
            log.warning("%s may be read by others, and that can't be changed: %s", path, error.strerror or error)
    if done:
        log.info("%d files and folders could be read by others; only their owner can now", done)
    return done


def _take(path: Path) -> bool:
    mode = path.lstat().st_mode
    if not mode & _OTHERS or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return False
    # By its descriptor: between the look and the change it may have become a link.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) & ~_OTHERS)
    finally:
        os.close(descriptor)
    return True


def _made(data: Path, pictures: str) -> Iterator[Path]:
    """Everything that Easel makes, each folder after what is in it: a private folder has nothing to tighten inside."""
    for name in (INPUTS, SHEETS, EXPORTS):
        yield from _files(data / name)
    for year in day_folders(data / pictures, 4):
        for month in day_folders(year, 2):
            for day in day_folders(month, 2):
                yield from _files(day)
            yield month
        yield year
    yield data / pictures
    yield from data.glob("easel.*")
    yield from (data / name for name in ("discord-commands", "orphans", "models"))


def _files(folder: Path) -> Iterator[Path]:
    """The files of a folder that others may look into, then the folder."""
    try:
        mode = folder.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISDIR(mode) or not mode & _OTHERS:
        return
    for entry in os.scandir(folder):
        if any(p.match(entry.name) for p in (PICTURE_NAME, INPUT_NAME, SHEET_NAME, EXPORT_NAME)):
            yield Path(entry.path)
    yield folder


def day_folders(folder: Path, digits: int) -> Iterator[Path]:
    """Yield the folders whose names have that number of digits, without following links. For a thread."""
    if not folder.is_dir():
        return
    for entry in os.scandir(folder):
        if len(entry.name) == digits and entry.name.isdecimal() and entry.is_dir(follow_symlinks=False):
            yield Path(entry.path)


MIN_FREE_BYTES = 64 * 2**20
"""No request is admitted when less than this is free: room for what is being painted, and for the database."""

_TEMPORARY = ".part"


def picture_path(job_id: int, index: int, created_at: float) -> str:
    """Return a picture's path relative to the pictures folder: ``YYYY/MM/DD/<job>-<index>.png``.

    The day is that on which the job was asked for (UTC), so a picture that is drawn anew replaces its file.
    """
    return f"{datetime.fromtimestamp(created_at, UTC):%Y/%m/%d}/{job_id}-{index}.png"


async def write(folder: Path, path: str, data: bytes, *, mode: int = FILE_MODE) -> Path:
    """Store a file; once this returns it survives a crash. Returns where it is.

    Args:
        folder: The folder.
        path: The file in it.
        data: Its content.
        mode: Its permissions, less the umask.

    Raises:
        Unavailable: The disk is full, or the folder can't be written.
    """
    try:
        return await asyncio.to_thread(_write, folder / path, data, mode)
    except OSError as e:
        full = e.errno in {errno.ENOSPC, errno.EDQUOT}
        raise unwritable(folder) if not full else Unavailable("unavailable.disk_full") from e


async def remove(folder: Path, path: str) -> None:
    """Remove a file; one that is not there is no error."""
    await asyncio.to_thread((folder / path).unlink, missing_ok=True)


async def remove_pictures(folder: Path, names: Collection[str]) -> None:
    """Remove pictures that rows have named; what can't be removed now is logged, and swept at the next start.

    A path that Easel would not have written, or that leads through a link, is left alone: rows may come out of a foreign
    backup.
    """

    def clear() -> None:
        own = [path for path in names if PICTURE_PATH.fullmatch(path) and not is_linked(folder, path)]
        if len(own) < len(names):
            log.warning("%d rows named files that are not Easel's; these files stay", len(names) - len(own))
        unlink([folder / path for path in own])

    await asyncio.to_thread(clear)


def unlink(paths: Iterable[Path]) -> None:
    """Remove files; what can't be removed now is logged, and swept at the next start. For a thread."""
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s could not be removed (%s); it is swept at the next start", path.name, error)


async def clear_old(folder: Path, names: re.Pattern[str], seconds: float) -> None:
    """Remove the files of a folder that were written longer ago, where their names match; whole and half-written ones."""
    await asyncio.to_thread(clear_old_now, folder, names, seconds)


def clear_old_now(folder: Path, names: re.Pattern[str], seconds: float) -> None:
    """Do what ``clear_old`` does. For a thread."""
    # Files' times are the disk's, so they are compared with the machine's clock.
    left = time.time() - seconds
    unlink([path for path, made in list_files(folder, names) if made < left])


def list_files(folder: Path, names: re.Pattern[str]) -> list[tuple[Path, float]]:
    """Return the regular files of a folder whose names match, whole or half-written, with when they were written.

    Neither links nor files that Easel did not make are among them. For a thread.
    """
    found = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            named = names.fullmatch(entry.name) or is_partial(entry.name, names)
            # Another process may remove a file meanwhile.
            with contextlib.suppress(FileNotFoundError):
                if named and entry.is_file(follow_symlinks=False):
                    found.append((Path(entry.path), entry.stat(follow_symlinks=False).st_mtime))
    return found


async def exists(folder: Path, path: str) -> bool:
    """Whether a picture's file is there: a regular file inside the folder, reached without links."""
    return await asyncio.to_thread(lambda: regular_file(folder, path) is not None)


async def disk_usage(folder: Path) -> tuple[int, int]:
    """Return the size of the folder's disk and how much of it is free, in bytes. Raises OSError."""
    usage = await asyncio.to_thread(shutil.disk_usage, folder)
    return usage.total, usage.free


async def free_bytes(folder: Path) -> int:
    """Return how much room the folder's disk has; the folder is made when it is not there. Raises Unavailable."""

    def look() -> int:
        make_folder(folder)
        return shutil.disk_usage(folder).free

    try:
        return await asyncio.to_thread(look)
    except OSError as e:
        raise unwritable(folder) from e


def _write(path: Path, data: bytes, mode: int) -> Path:
    new_folder = not path.parent.exists()
    make_folder(path.parent)
    # A name of its own: the same file may be written twice at once.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_TEMPORARY}")
    try:
        with open_new(temporary, mode) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    # The new name is durable once its folder is, and that one's once those above it are (YYYY/MM/DD).
    for parent in list(path.parents)[: 4 if new_folder else 1]:
        sync_folder(parent)
    return path


def sync_folder(folder: Path) -> None:
    """Return once the names in a folder survive a crash. Raises OSError. Windows can't open a folder, and needs no such thing."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unwritable(folder: Path) -> Unavailable:
    """Return the refusal that says that a folder can't be written."""
    return Unavailable("unavailable.pictures.unwritable", path=str(folder))
