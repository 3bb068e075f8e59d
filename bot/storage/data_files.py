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

FILE_MODE, FOLDER_MODE = 0o600, 0o700

PICTURE_NAME = re.compile(r"\d{1,18}-\d{1,4}\.png", re.ASCII)
"""Name of a picture in the folder of its day."""

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
"""How a file is opened for writing: emptied, and never through a link."""

_OTHERS = 0o077

MIN_FREE_BYTES = 64 * 2**20
"""Requests are refused below this free space: it is for pictures that are being drawn, and for the database."""

_TEMPORARY = ".part"

log = logging.getLogger(__name__)

PICTURES = "pictures"
"""Folder of pictures, in the data folder."""

INPUTS = "inputs"
"""Folder of source images and masks, in the data folder."""

SHEETS = "sheets"
"""Folder of contact sheets, in the data folder."""

EXPORTS = "exports"
"""Folder of exports, in the data folder."""

THUMBNAILS = "thumbs"
"""Folder of thumbnails, in the data folder."""

PICTURE_PATH = re.compile(r"\d{4}/\d{2}/\d{2}/(\d{1,18})-(\d{1,4})\.png", re.ASCII)
"""Path of a picture in the pictures folder: its day, its job and its index."""

DIGEST_CHARS = 32
"""Hexadecimal digits of a picture's digest."""

DIGEST = re.compile(r"[0-9a-f]{32}", re.ASCII)
"""Names the thumbnails of a picture; see ``Picture.digest``."""

THUMBNAIL_NAME = re.compile(r"[0-9a-f]{32}-\d{1,5}\.webp", re.ASCII)
"""Name of a thumbnail: the picture's digest and its longest side in pixels."""

INPUT_NAME = re.compile(r"[0-9a-f]{64}\.png", re.ASCII)
"""Name of a source image or mask: its SHA-256."""

DELETED_INPUT = "unkept"
"""Stands in a row for the name of a source file that was deleted."""

SHEET_NAME = re.compile(r"[0-9a-f]{24}\.png", re.ASCII)
"""Name of a contact sheet."""

EXPORT_NAME = re.compile(r"\d{1,18}-\d{1,6}\.zip", re.ASCII)
"""Name of a part of an export: the export and the number of the part."""

PARTIAL = re.compile(r"(\.[0-9a-f]{8})?\.part", re.ASCII)
"""Suffix of a file that is still being written."""

NO_FILE = "0000/00/00/0-0.png"
"""A path that no picture has: this file never exists."""


def is_confined(path: str) -> bool:
    """Whether a relative path with ``/`` stays inside its folder. Links are not followed."""
    return not set(path) & {"\\", "\0", ":"} and all(part not in {"", ".", ".."} for part in path.split("/"))


def is_partial(name: str, whole: re.Pattern[str]) -> bool:
    """Whether this is the name of a partial file of a file whose name matches."""
    match = re.fullmatch(rf"({whole.pattern})(({PARTIAL.pattern})+)", name, re.ASCII)
    return match is not None


def is_linked(folder: Path, path: str) -> bool:
    """Whether any part of ``path`` inside the folder is a link; the folder itself may be one. Blocks: run in a thread."""
    place = str(folder)
    for part in path.split("/"):
        place = os.path.join(place, part)  # noqa: PTH118 - several times as fast as a Path, for each picture that is shown
        if os.path.islink(place):  # noqa: PTH114 - as above
            return True
    return False


def is_own_picture(folder: Path, path: str) -> bool:
    """Whether this is the path of a picture that Easel has written into its folder, not behind a link. Blocks."""
    return PICTURE_PATH.fullmatch(path) is not None and not is_linked(folder, path)


def regular_file(folder: Path, path: str) -> Path | None:
    """Return the path of a regular file inside a folder; None for links and everything else. Blocks: run in a thread.

    Args:
        folder: A folder of the data folder; it may be a link itself.
        path: Relative to the folder, with ``/``.
    """
    if not is_confined(path) or is_linked(folder, path):
        return None
    place = folder / path
    try:
        return place if stat.S_ISREG(place.lstat().st_mode) else None
    except OSError:
        return None


def locate(pictures: Path, name: str) -> Path | None:
    """Return the file of a picture, a source image or a mask; None if there is none. Blocks: run in a thread.

    Args:
        pictures: The pictures folder.
        name: Relative to the data folder, as in the rows of jobs.
    """
    folder, _, rest = name.partition("/")
    if folder == pictures.name:
        return regular_file(pictures, rest)
    return regular_file(pictures.parent / INPUTS, rest) if folder == INPUTS else None


def is_source(name: str, pictures: str) -> bool:
    """Whether this is a name that Easel gives to a job's source file."""
    folder, _, rest = name.partition("/")
    if folder == pictures:
        return PICTURE_PATH.fullmatch(rest) is not None
    return folder == INPUTS and (INPUT_NAME.fullmatch(rest) is not None or rest == DELETED_INPUT)


def is_card_file(name: str, pictures: str) -> bool:
    """Whether this path, relative to the data folder, is one that Easel writes into stored cards."""
    folder, _, rest = name.partition("/")
    patterns = {pictures: PICTURE_PATH, SHEETS: SHEET_NAME, EXPORTS: EXPORT_NAME}
    return folder in patterns and patterns[folder].fullmatch(rest) is not None


def is_sendable(pictures: Path, path: Path) -> bool:
    """Whether the file of a stored card may be sent: a file of this data folder, not behind a link. Blocks: run in a thread.

    A row may come from another machine's backup; it must not name arbitrary files of this machine.
    """
    data = pictures.parent.absolute()
    try:
        name = Path(os.path.normpath(path.absolute())).relative_to(os.path.normpath(data)).as_posix()
    except ValueError:
        return False
    folder, _, rest = name.partition("/")
    return is_card_file(name, pictures.name) and not is_linked(data / folder, rest)


def make_folder(path: Path) -> None:
    """Make a folder and its missing parents; only their owner may use them. Raises OSError."""
    missing = []
    place = path
    while not place.exists():
        missing.append(place)
        place = place.parent
    for folder in reversed(missing):
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    path.mkdir(exist_ok=True)  # raises if it is no folder


def open_new(path: Path, mode: int = FILE_MODE) -> BinaryIO:
    """Open a file for writing and empty it; never through a link. Raises OSError.

    Args:
        path: The file.
        mode: Permissions of a new file, reduced by the umask.
    """
    return os.fdopen(os.open(path, _NEW_FILE, mode), "wb")


def restrict_permissions(data: Path, pictures: str = PICTURES) -> int:
    """Remove the group's and others' permissions of Easel's files in the data folder; return how many had any.

    Earlier versions wrote world-readable pictures. Links are not followed; other files are left alone. Blocks: run in a
    thread.
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
            log.warning(
                "other users may read %s, and its permissions can't be changed: %s", path, error.strerror or error
            )
    if done:
        log.info("removed other users' permissions from %d files and folders", done)
    return done


def _take(path: Path) -> bool:
    mode = path.lstat().st_mode
    if not mode & _OTHERS or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return False
    # By its descriptor: it may have become a link since it was examined.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) & ~_OTHERS)
    finally:
        os.close(descriptor)
    return True


def _made(data: Path, pictures: str) -> Iterator[Path]:
    """Yield what Easel makes, each folder after its content: the files of a private folder need no change."""
    for name in (INPUTS, SHEETS, EXPORTS, THUMBNAILS):
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
    """Yield the files of a folder that others may read, then the folder."""
    try:
        mode = folder.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISDIR(mode) or not mode & _OTHERS:
        return
    for entry in os.scandir(folder):
        if any(p.match(entry.name) for p in (PICTURE_NAME, INPUT_NAME, SHEET_NAME, EXPORT_NAME, THUMBNAIL_NAME)):
            yield Path(entry.path)
    yield folder


def day_folders(folder: Path, digits: int) -> Iterator[Path]:
    """Yield the folders whose names have that number of digits; links are not followed. Blocks: run in a thread."""
    if not folder.is_dir():
        return
    for entry in os.scandir(folder):
        if len(entry.name) == digits and entry.name.isdecimal() and entry.is_dir(follow_symlinks=False):
            yield Path(entry.path)


def picture_path(job_id: int, index: int, created_at: float) -> str:
    """Return a picture's path relative to the pictures folder: ``YYYY/MM/DD/<job>-<index>.png``.

    The day is that of the request (UTC), so a picture that is drawn again replaces its file.
    """
    return f"{datetime.fromtimestamp(created_at, UTC):%Y/%m/%d}/{job_id}-{index}.png"


async def write(folder: Path, path: str, data: bytes, *, mode: int = FILE_MODE) -> Path:
    """Write a file durably and atomically: it survives a crash after this returns. Returns its path.

    Args:
        folder: The folder.
        path: Relative to the folder.
        data: The content.
        mode: Permissions, reduced by the umask.

    Raises:
        Unavailable: The disk is full, or the folder can't be written.
    """
    return await asyncio.to_thread(write_now, folder, path, data, mode=mode)


def write_now(folder: Path, path: str, data: bytes, *, mode: int = FILE_MODE) -> Path:
    """Do what ``write`` does. Blocks: run in a thread."""
    try:
        return _write(folder / path, data, mode)
    except OSError as e:
        full = e.errno in {errno.ENOSPC, errno.EDQUOT}
        raise unwritable(folder) if not full else Unavailable("unavailable.disk_full") from e


async def remove(folder: Path, path: str) -> None:
    """Remove a file; a missing file is no error."""
    await asyncio.to_thread((folder / path).unlink, missing_ok=True)


async def remove_pictures(folder: Path, names: Collection[str]) -> None:
    """Remove the files of deleted picture rows. A failure is logged; the next start removes the file.

    Paths that Easel would not write, and paths through links, are skipped: rows may come from another machine's backup.
    """

    def clear() -> None:
        own = [path for path in names if is_own_picture(folder, path)]
        if len(own) < len(names):
            log.warning("%d rows named files that Easel did not write; they are kept", len(names) - len(own))
        unlink([folder / path for path in own])

    await asyncio.to_thread(clear)


def unlink(paths: Iterable[Path]) -> None:
    """Remove files. A failure is logged; the next start removes the file. Blocks: run in a thread."""
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s could not be removed (%s); the next start removes it", path.name, error)


async def clear_old(folder: Path, names: re.Pattern[str], seconds: float) -> None:
    """Remove files whose names match and that are older than ``seconds``, partial ones included."""
    await asyncio.to_thread(clear_old_now, folder, names, seconds)


def clear_old_now(folder: Path, names: re.Pattern[str], seconds: float) -> None:
    """Do what ``clear_old`` does. Blocks: run in a thread."""
    # Modification times are the file system's, so they are compared with the machine's clock.
    left = time.time() - seconds
    unlink([path for path, made in list_files(folder, names) if made < left])


def list_files(folder: Path, names: re.Pattern[str]) -> list[tuple[Path, float]]:
    """Return the regular files of a folder whose names match, partial ones included, with their modification times.

    Links are skipped. Blocks: run in a thread.
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
    """Whether a picture's file exists: a regular file inside the folder, not behind a link."""
    return await asyncio.to_thread(lambda: regular_file(folder, path) is not None)


async def disk_usage(folder: Path) -> tuple[int, int]:
    """Return the size and the free space of the folder's file system, in bytes. Raises OSError."""
    usage = await asyncio.to_thread(shutil.disk_usage, folder)
    return usage.total, usage.free


async def free_bytes(folder: Path) -> int:
    """Return the free space of the folder's file system, in bytes; makes the folder if needed. Raises Unavailable."""

    def look() -> int:
        make_folder(folder)
        return shutil.disk_usage(folder).free

    try:
        return await asyncio.to_thread(look)
    except OSError as e:
        raise unwritable(folder) from e


def _write(path: Path, data: bytes, mode: int) -> Path:
    # A unique name: the same file may be written twice concurrently.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_TEMPORARY}")
    new_folder = False
    try:
        try:
            descriptor = os.open(temporary, _NEW_FILE, mode)
        except FileNotFoundError:
            make_folder(path.parent)
            new_folder = True
            descriptor = os.open(temporary, _NEW_FILE, mode)
        try:
            # Without a file object: several devices end a picture each second, and each call lets go of the interpreter.
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    # A new name is durable once its folder is synced; a new folder once its parents are (YYYY/MM/DD).
    for parent in list(path.parents)[:4] if new_folder else (path.parent,):
        sync_folder(parent)
    return path


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Windows can't open a folder and does not need this. Raises OSError."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unwritable(folder: Path) -> Unavailable:
    """Return the error for a folder that can't be written."""
    return Unavailable("unavailable.pictures.unwritable", path=str(folder))
