"""SQL of maintenance: consistency of the ledger, health of the database file, and the last known time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import aiosqlite

from bot.access.store import newcomers as access_rows
from bot.storage import migrate, people
from bot.storage.database import Tx

A = TypeVar("A")
B = TypeVar("B")

_MAX_FAULTS = 20
"""Maximum number of faults of one kind in a result."""

_OPEN = "('queued', 'running')"

# Sums of each job. A job with deleted data was charged, and has no pictures any more.
_SUMS = (
    "SELECT j.id, j.state, j.count, coalesce(sum(l.kind = 'reserve'), 0) AS begun, coalesce(sum(l.reserved), 0) AS held,"
    " coalesce(sum(l.charged), 0) AS charged, coalesce(sum(l.free), 0) AS free, coalesce(sum(l.free_here), 0) AS free_here,"
    " count(DISTINCT l.person_id) AS people, count(DISTINCT l.counted_at) AS times,"
    " (SELECT count(*) FROM pictures p WHERE p.job_id = j.id) AS painted,"
    " (SELECT coalesce(sum(u.pictures), 0) FROM credit_uses u WHERE u.job_id = j.id) AS paid"
    " FROM jobs j LEFT JOIN ledger l ON l.job_id = j.id GROUP BY j.id"
)
_FAULTS = (
    ("never reserved", "begun = 0 AND state NOT IN ('held', 'cancelled')"),
    ("reserved while it is held", "state = 'held' AND begun > 0"),
    ("not settled", f"state NOT IN {_OPEN} AND held <> 0"),
    ("settled too early", f"state IN {_OPEN} AND begun > 0 AND (held <> count OR charged <> 0)"),
    ("charged for more than was requested", "charged < 0 OR charged > count"),
    ("painted for nothing", f"state NOT IN {_OPEN} AND painted > charged"),
    ("paid twice", "free < 0 OR free_here < 0 OR free + free_here > held + charged"),
    ("paid by no credits", "free + free_here <> paid"),
    ("counted for two people or at two times", "people > 1 OR times > 1"),
)
_OVERSPENT = (
    "SELECT c.id FROM credits c JOIN credit_uses u ON u.credit_id = c.id GROUP BY c.id"
    " HAVING sum(u.pictures) < 0 OR sum(u.pictures) > c.pictures"
)
_RETURNED = (
    "SELECT credit_id FROM credit_uses GROUP BY credit_id, job_id HAVING sum(pictures) < 0"
    " OR sum(kind = 'spend') <> 1 OR min(CASE kind WHEN 'spend' THEN pictures ELSE -pictures END) <= 0"
)
# Tallies are retained for nine days before a person's newest; a week is compared.
_TALLIED = (
    "SELECT t.person_id FROM (SELECT person_id, max(slot) AS last FROM tallies GROUP BY person_id) t"
    " WHERE (SELECT sum(owner) || ' ' || sum(own) || ' ' || sum(owner_cost) || ' ' || sum(own_cost) FROM tallies"
    " WHERE person_id = t.person_id AND slot > t.last - 672) <> (SELECT sum(reserved - free) || ' ' ||"
    " sum(reserved - free - free_here) || ' ' || sum((reserved - free) * cost_each) || ' ' ||"
    " sum((reserved - free - free_here) * cost_each) FROM ledger WHERE person_id = t.person_id AND kind <> 'charge'"
    " AND counted_at > (t.last - 673) * 900.0 AND CAST(counted_at / 900 AS INTEGER) > t.last - 672)"
)


_BUSY_SECONDS = 5.0

NAME = "clock"
"""Option of the service: ``seen``; ``known`` and ``ran`` too while the clock is doubted."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An inconsistency: what is wrong, in English for operators, and the id of the job, credit or person."""

    what: str
    number: int


async def faults(tx: Tx) -> tuple[Fault, ...]:
    """Return the inconsistencies of the ledger. It reads all rows: for ``easel doctor`` and tests."""
    which = ", ".join(f"({test})" for _, test in _FAULTS)
    found = []
    any_of = " OR ".join(f"({test})" for _, test in _FAULTS)
    for number, *broken in await tx.execute_fetchall(
        f"SELECT id, {which} FROM ({_SUMS}) WHERE {any_of} LIMIT {_MAX_FAULTS}"  # noqa: S608 - constants
    ):
        found += [Fault(f"job {what}", number) for (what, _), true in zip(_FAULTS, broken, strict=True) if true]
    for what, query in (
        ("credit overspent", _OVERSPENT),
        ("credit given back wrongly", _RETURNED),
        ("person tallied wrongly", _TALLIED),
    ):
        rows = await tx.execute_fetchall(f"{query} LIMIT {_MAX_FAULTS}")
        found += [Fault(what, row[0]) for row in rows]
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Health:
    """Health of a database file.

    Attributes:
        version: Number of the last applied migration.
        known: Number of the last migration that this code knows.
        problem: SQLite's message about damage; empty if there is none.
    """

    version: int
    known: int
    problem: str = ""


async def health(path: Path) -> Health | None:
    """Return the health of the database file; None if there is none. A service may be using it."""
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
    return Health(version, known, problem or ("rows refer to missing rows" if orphans else ""))


async def integrity_problem(path: Path) -> str:
    """Return SQLite's message about damage of a file that a service uses; empty if there is none.

    It reads the whole file in a thread. A cancellation ends it at once.
    """
    opened: list[sqlite3.Connection] = []

    def check() -> str:
        uri = f"{path.absolute().as_uri()}?mode=rw"
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, check_same_thread=False)) as db:
                opened.append(db)
                db.execute("PRAGMA query_only = ON")
                (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
                return "" if found == "ok" else str(found)
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            # Other errors, such as a lock or an interruption, say nothing about the file.
            return str(error) if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB} else ""

    try:
        return await asyncio.to_thread(check)
    except asyncio.CancelledError:
        for db in opened:
            with suppress(sqlite3.ProgrammingError):  # already closed
                db.interrupt()
        raise


@dataclass(frozen=True, slots=True)
class Doubt:
    """A possible jump of the clock.

    Attributes:
        known: The last known time before it (Unix seconds).
        ran: Seconds that the service has run since then with a steady clock.
    """

    known: float
    ran: float


async def read_clock(tx: Tx) -> tuple[float, Doubt | None]:
    """Return the clock's last stored time (Unix seconds; 0 if unknown), and the doubt about it, if any."""
    value = await people.get_option(tx, people.SERVICE, NAME)
    if not isinstance(value, dict):
        return 0.0, None
    seen, known, ran = (value.get(name) for name in ("seen", "known", "ran"))
    doubt = Doubt(float(known), float(ran)) if isinstance(known, int | float) and isinstance(ran, int | float) else None
    return (float(seen) if isinstance(seen, int | float) else 0.0), doubt


async def write_clock(tx: Tx, seen: float, doubt: Doubt | None) -> None:
    """Store the clock's present time, and the doubt about it."""
    value = {"seen": seen} if doubt is None else {"seen": seen, "known": doubt.known, "ran": doubt.ran}
    await people.put_option(tx, people.SERVICE, NAME, value)


async def newest_request(tx: Tx) -> float:
    """Return the time of the newest request (Unix seconds); 0 if there is none."""
    rows = await tx.execute_fetchall("SELECT created_at FROM jobs ORDER BY id DESC LIMIT 1")
    return next((float(row[0]) for row in rows), 0.0)


async def ledger_faults(path: Path) -> tuple[Fault, ...] | None:
    """Return the inconsistencies of the ledger; None if the file is missing, unreadable or of another version."""
    return await _query(path, faults, None)


async def count_newcomers(path: Path, platforms: Sequence[str]) -> int:
    """Return how many newcomers wait for an owner's decision on these platforms.

    0 if the file is missing, unreadable or of another version.
    """
    return await _query(path, lambda db: access_rows.count_open(db, platforms), 0)


async def clock_doubted_since(path: Path) -> float | None:
    """Return the last known time (Unix seconds) before the clock may have jumped.

    None if the clock is trusted, or if the file is missing, unreadable or of another version.
    """
    _, doubt = await _query(path, read_clock, (0.0, None))
    return None if doubt is None else doubt.known


async def _query(path: Path, query: Callable[[aiosqlite.Connection], Awaitable[A]], default: B) -> A | B:
    """Return a query's result; the default if the file is missing, unreadable or of another version."""
    if not await asyncio.to_thread(path.exists):
        return default
    try:
        async with _opened(path) as db:
            return await query(db) if await _version(db) == len(migrate.shipped()) else default
    except sqlite3.Error:
        return default


@asynccontextmanager
async def _opened(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    # Not read-only: after a crash, SQLite has to rebuild the index of the log.
    uri = f"{(await asyncio.to_thread(path.absolute)).as_uri()}?mode=rw"
    async with aiosqlite.connect(uri, uri=True, timeout=_BUSY_SECONDS) as db:
        await db.execute_fetchall("PRAGMA query_only = ON")
        yield db


async def _version(db: aiosqlite.Connection) -> int:
    return int(next(iter(await db.execute_fetchall("PRAGMA user_version")))[0])
