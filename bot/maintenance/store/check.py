"""Looks at a database file without changing it: which version it is, and whether it is whole."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path

import aiosqlite

from bot.access import store as access_rows
from bot.maintenance.store import clocks, ledger_check
from bot.maintenance.store.ledger_check import Fault
from bot.storage import migrate

_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Health:
    """What a look at the file found.

    Attributes:
        version: Number of the last migration that was applied.
        known: Number of the last migration that this code knows.
        problem: SQLite's own words on what is wrong; empty when the file is whole.
    """

    version: int
    known: int
    problem: str = ""


async def look(path: Path) -> Health | None:
    """Return the health of the file; None when there is none yet. A service may use it meanwhile."""
    known = len(migrate.shipped())
    if not await asyncio.to_thread(path.exists):
        return None
    try:
        async with _opened(path) as db:
            version = await _version(db)
            verdict = next(iter(await db.execute_fetchall("PRAGMA quick_check(1)")))[0]
            orphans = list(await db.execute_fetchall("PRAGMA foreign_key_check"))
    except sqlite3.Error as error:
        return Health(0, known, str(error))
    problem = "" if verdict == "ok" else str(verdict)
    return Health(version, known, problem or ("rows that point nowhere" if orphans else ""))


async def verdict(path: Path) -> str:
    """Return SQLite's own words on what is wrong with a file that a service uses; empty when it is whole.

    It reads the whole file, in a thread; cancelled, it ends at once.
    """
    opened: list[sqlite3.Connection] = []

    def look() -> str:
        uri = f"{path.absolute().as_uri()}?mode=rw"
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=_PATIENCE_SECONDS, check_same_thread=False)) as db:
                opened.append(db)
                db.execute("PRAGMA query_only = ON")
                (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
                return "" if found == "ok" else str(found)
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            # Locked, say, or cut short by a stop: that says nothing of the file.
            return str(error) if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB} else ""

    try:
        return await asyncio.to_thread(look)
    except asyncio.CancelledError:
        for db in opened:
            with suppress(sqlite3.ProgrammingError):  # it has just been closed
                db.interrupt()
        raise


async def ledger(path: Path) -> tuple[Fault, ...] | None:
    """Return what does not come out in the ledger; None where the file can't be read, or is of another version."""
    if not await asyncio.to_thread(path.exists):
        return None
    try:
        async with _opened(path) as db:
            return None if await _version(db) != len(migrate.shipped()) else await ledger_check.faults(db)
    except sqlite3.Error:
        return None


async def newcomers(path: Path, platforms: Sequence[str]) -> int:
    """Return how many wait for an owner's answer on these platforms; 0 where the file can't be read, or is of another version."""
    if not await asyncio.to_thread(path.exists):
        return 0
    try:
        async with _opened(path) as db:
            return 0 if await _version(db) != len(migrate.shipped()) else await access_rows.count_open(db, platforms)
    except sqlite3.Error:
        return 0


async def doubted_since(path: Path) -> float | None:
    """Return the last moment (Unix seconds) before the clock may have jumped.

    None where it is believed, or where the file can't be read, or is of another version.
    """
    if not await asyncio.to_thread(path.exists):
        return None
    try:
        async with _opened(path) as db:
            if await _version(db) != len(migrate.shipped()):
                return None
            _, doubt = await clocks.read(db)
            return None if doubt is None else doubt.known
    except sqlite3.Error:
        return None


@asynccontextmanager
async def _opened(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    # Not read-only: beside a crashed service's log, SQLite has to make its index anew.
    uri = f"{(await asyncio.to_thread(path.absolute)).as_uri()}?mode=rw"
    async with aiosqlite.connect(uri, uri=True, timeout=_PATIENCE_SECONDS) as db:
        await db.execute_fetchall("PRAGMA query_only = ON")
        yield db


async def _version(db: aiosqlite.Connection) -> int:
    return int(next(iter(await db.execute_fetchall("PRAGMA user_version")))[0])
