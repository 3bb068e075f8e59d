"""A database with its tables and no rows, as bytes: making the tables takes longer than what most examples do with them."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from bot.storage.database import Database


@cache
def empty_database() -> bytes:
    """Return the file; made once. Not from within an event loop."""

    async def make(path: Path) -> None:
        await (await Database.open(path)).close()

    with TemporaryDirectory() as folder:
        path = Path(folder) / "easel.db"
        asyncio.run(make(path))
        return path.read_bytes()
