"""A database whose tables are there already: making them takes ten times as long as most tests."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from bot.storage import data_files
from bot.storage.database import Database


@cache
def empty_database() -> bytes:
    """Return the file that the shipped migrations make; they run once in a process."""

    async def make(path: Path) -> None:
        await (await Database.open(path)).close()

    # In a thread of its own, since the caller's may run an event loop.
    with TemporaryDirectory() as folder, ThreadPoolExecutor(1) as thread:
        path = Path(folder) / "easel.db"
        thread.submit(asyncio.run, make(path)).result()
        return path.read_bytes()


async def open_database(path: Path) -> Database:
    """Open a database file; a missing one is made with its tables, as ``Database.open`` makes it."""
    await asyncio.to_thread(_make, path)
    return await Database.open(path)


def _make(path: Path) -> None:
    if not path.exists():
        data_files.make_folder(path.parent)
        path.touch(mode=0o600)
        path.write_bytes(empty_database())
