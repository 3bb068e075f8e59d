"""Pictures as files: written whole or not at all, for their owner alone, found again by their relative path."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path

from bot.core.errors import Unavailable
from bot.storage import paths, permissions

MIN_FREE_BYTES = 64 * 2**20
"""No request is admitted when less than this is free: room for what is being painted, and for the database."""

_TEMPORARY = ".part"

log = logging.getLogger(__name__)


def name(job_id: int, index: int, created_at: float) -> str:
    """Return a picture's path relative to the pictures folder: ``YYYY/MM/DD/<job>-<index>.png``.

    The day is that on which the job was asked for (UTC), so a picture that is drawn anew replaces its file.
    """
    return f"{datetime.fromtimestamp(created_at, UTC):%Y/%m/%d}/{job_id}-{index}.png"


async def write(folder: Path, path: str, data: bytes, *, mode: int = permissions.FILE) -> Path:
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


async def remove_all(folder: Path, names: Collection[str]) -> None:
    """Remove pictures that rows have named; what can't be removed now is logged, and swept at the next start.

    A path that Easel would not have written, or that leads through a link, is left alone: rows may come out of a foreign
    backup.
    """

    def clear() -> None:
        own = [path for path in names if paths.PICTURE.fullmatch(path) and not paths.is_linked(folder, path)]
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
    unlink([path for path, made in own_files(folder, names) if made < left])


def own_files(folder: Path, names: re.Pattern[str]) -> list[tuple[Path, float]]:
    """Return the regular files of a folder whose names match, whole or half-written, with when they were written.

    Neither links nor files that Easel did not make are among them. For a thread.
    """
    found = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            named = names.fullmatch(entry.name) or paths.is_half_written(entry.name, names)
            # Another process may remove a file meanwhile.
            with contextlib.suppress(FileNotFoundError):
                if named and entry.is_file(follow_symlinks=False):
                    found.append((Path(entry.path), entry.stat(follow_symlinks=False).st_mtime))
    return found


async def is_there(folder: Path, path: str) -> bool:
    """Whether a picture's file is there: a regular file inside the folder, reached without links."""
    return await asyncio.to_thread(lambda: paths.regular(folder, path) is not None)


async def disk(folder: Path) -> tuple[int, int]:
    """Return the size of the folder's disk and how much of it is free, in bytes. Raises OSError."""
    usage = await asyncio.to_thread(shutil.disk_usage, folder)
    return usage.total, usage.free


async def free_bytes(folder: Path) -> int:
    """Return how much room the folder's disk has; the folder is made when it is not there. Raises Unavailable."""

    def look() -> int:
        permissions.make_folder(folder)
        return shutil.disk_usage(folder).free

    try:
        return await asyncio.to_thread(look)
    except OSError as e:
        raise unwritable(folder) from e


def _write(path: Path, data: bytes, mode: int) -> Path:
    new_folder = not path.parent.exists()
    permissions.make_folder(path.parent)
    # A name of its own: the same file may be written twice at once.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_TEMPORARY}")
    try:
        with permissions.open_new(temporary, mode) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    # The new name is durable once its folder is, and that one's once those above it are (YYYY/MM/DD).
    for parent in list(path.parents)[: 4 if new_folder else 1]:
        sync(parent)
    return path


def sync(folder: Path) -> None:
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
