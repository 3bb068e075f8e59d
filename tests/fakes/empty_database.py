"""An empty database file as bytes: creating the tables takes longer than most examples."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from bot.storage.database import Database


@cache
def empty_database() -> bytes:
    """Return the file, which is made once. Must not be called in an event loop."""

    async def make(path: Path) -> None:
        await (await Database.open(path)).close()

    with TemporaryDirectory() as folder:
        path = Path(folder) / "easel.db"
        asyncio.run(make(path))
        return path.read_bytes()
