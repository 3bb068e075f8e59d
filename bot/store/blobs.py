"""Pictures as files: written whole or not at all, found again by their relative path."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import secrets
import shutil
import time
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path

from bot.model.errors import Unavailable

MIN_FREE_BYTES = 64 * 2**20
"""No request is admitted when less than this is free: room for what is being painted, and for the database."""

_TEMPORARY = ".part"

log = logging.getLogger(__name__)


def name(job_id: int, index: int, created_at: float) -> str:
    """Return a picture's path relative to the pictures folder: ``YYYY/MM/DD/<job>-<index>.png``.

    The day is that on which the job was asked for (UTC), so a picture that is drawn anew replaces its file.
    """
    return f"{datetime.fromtimestamp(created_at, UTC):%Y/%m/%d}/{job_id}-{index}.png"


async def write(folder: Path, path: str, data: bytes) -> Path:
    """Store a file; once this returns it survives a crash. Returns where it is.

    Raises:
        Unavailable: The disk is full, or the folder can't be written.
    """
    try:
        return await asyncio.to_thread(_write, folder / path, data)
    except OSError as e:
        full = e.errno in {errno.ENOSPC, errno.EDQUOT}
        raise unwritable(folder) if not full else Unavailable("unavailable.disk_full") from e


async def remove(folder: Path, path: str) -> None:
    """Remove a file; one that is not there is no error."""
    await asyncio.to_thread((folder / path).unlink, missing_ok=True)


async def remove_all(folder: Path, paths: Collection[str]) -> None:
    """Remove files; what can't be removed now is logged, and swept at the next start."""
    await asyncio.to_thread(unlink, [folder / path for path in paths])


def unlink(paths: Iterable[Path]) -> None:
    """Remove files; what can't be removed now is logged, and swept at the next start. For a thread."""
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s could not be removed (%s); it is swept at the next start", path.name, error)


async def clear_old(folder: Path, seconds: float) -> None:
    """Remove the files of a folder that were written longer ago."""

    def clear() -> None:
        # Files' times are the disk's, so they are compared with the machine's clock.
        left = time.time() - seconds
        unlink([path for path in folder.glob("*") if path.is_file() and path.stat().st_mtime < left])

    await asyncio.to_thread(clear)


async def disk(folder: Path) -> tuple[int, int]:
    """Return the size of the folder's disk and how much of it is free, in bytes. Raises OSError."""
    usage = await asyncio.to_thread(shutil.disk_usage, folder)
    return usage.total, usage.free


async def without_file(folder: Path, paths: Collection[str]) -> tuple[str, ...]:
    """Return which of these files are not there, sorted."""

    def look() -> tuple[str, ...]:
        there = {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}
        return tuple(sorted(set(paths) - there))

    return await asyncio.to_thread(look)


async def free_bytes(folder: Path) -> int:
    """Return how much room the folder's disk has; the folder is made when it is not there. Raises Unavailable."""

    def look() -> int:
        folder.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(folder).free

    try:
        return await asyncio.to_thread(look)
    except OSError as e:
        raise unwritable(folder) from e


async def sweep(folder: Path, known: Collection[str]) -> int:
    """Remove the files that no row knows, and half-written ones; returns how many.

    Only while nobody paints: a finished file has no row for a moment.
    """
    return await asyncio.to_thread(_sweep, folder, frozenset(known))


def _write(path: Path, data: bytes) -> Path:
    new_folder = not path.parent.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own: the same file may be written twice at once.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_TEMPORARY}")
    try:
        with temporary.open("wb") as file:
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


def _sweep(folder: Path, known: frozenset[str]) -> int:
    orphans = [
        path
        for path in folder.rglob("*")
        if path.suffix in {".png", _TEMPORARY} and path.is_file() and path.relative_to(folder).as_posix() not in known
    ]
    for path in orphans:
        path.unlink(missing_ok=True)
    return len(orphans)


def unwritable(folder: Path) -> Unavailable:
    """Return the refusal that says that a folder can't be written."""
    return Unavailable("unavailable.pictures.unwritable", path=str(folder))
