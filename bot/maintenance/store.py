"""SQL of maintenance: the last known time, the consistency of the ledger, and the health of the database file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path

import aiosqlite

from bot.access import store as access_rows
from bot.storage import migrate, options

NAME = "clock"
"""Option of the service: ``seen``, and where it is doubted ``known`` and ``ran``."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """The clock may have jumped.

    Attributes:
        known: The last moment before that (Unix seconds).
        ran: Seconds that the service has run since then, while the clock kept its pace.
    """

    known: float
    ran: float


async def read_clock(tx: aiosqlite.Connection) -> tuple[float, Doubt | None]:
    """Return what the clock said last (Unix seconds, 0 where nothing is known) and whether it is doubted."""
    value = await options.get(tx, options.SERVICE, NAME)
    if not isinstance(value, dict):
        return 0.0, None
    seen, known, ran = (value.get(name) for name in ("seen", "known", "ran"))
    doubt = Doubt(float(known), float(ran)) if isinstance(known, int | float) and isinstance(ran, int | float) else None
    return (float(seen) if isinstance(seen, int | float) else 0.0), doubt


async def write_clock(tx: aiosqlite.Connection, seen: float, doubt: Doubt | None) -> None:
    """Remember what the clock says now."""
    value = {"seen": seen} if doubt is None else {"seen": seen, "known": doubt.known, "ran": doubt.ran}
    await options.put(tx, options.SERVICE, NAME, value)


async def newest_request(tx: aiosqlite.Connection) -> float:
    """Return when the newest request came (Unix seconds); 0 where there is none."""
    rows = await tx.execute_fetchall("SELECT created_at FROM jobs ORDER BY id DESC LIMIT 1")
    return next((float(row[0]) for row in rows), 0.0)


_MOST = 20
"""So many faults of one sort are named."""

_OPEN = "('queued', 'running')"

# One row for each fault: its number. What a person had forgotten has no pictures any more, but was charged.
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
    ("charged for what was not asked for", "charged < 0 OR charged > count"),
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
# Tallies are kept for nine days before somebody's newest; a week of them is compared.
_TALLIED = (
    "SELECT t.person_id FROM (SELECT person_id, max(slot) AS last FROM tallies GROUP BY person_id) t"
    " WHERE (SELECT sum(owner) || ' ' || sum(own) || ' ' || sum(owner_cost) || ' ' || sum(own_cost) FROM tallies"
    " WHERE person_id = t.person_id AND slot > t.last - 672) <> (SELECT sum(reserved - free) || ' ' ||"
    " sum(reserved - free - free_here) || ' ' || sum((reserved - free) * cost_each) || ' ' ||"
    " sum((reserved - free - free_here) * cost_each) FROM ledger WHERE person_id = t.person_id AND kind <> 'charge'"
    " AND counted_at > (t.last - 673) * 900.0 AND CAST(counted_at / 900 AS INTEGER) > t.last - 672)"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that does not come out: what, in English for operators, and of which job, credit or person."""

    what: str
    number: int


async def faults(tx: aiosqlite.Connection) -> tuple[Fault, ...]:
    """Return what does not come out; nothing when all is well. Reads everything: for the doctor and for tests."""
    which = ", ".join(f"({test})" for _, test in _FAULTS)
    found = []
    any_of = " OR ".join(f"({test})" for _, test in _FAULTS)
    for number, *broken in await tx.execute_fetchall(
        f"SELECT id, {which} FROM ({_SUMS}) WHERE {any_of} LIMIT {_MOST}"  # noqa: S608 - constants
    ):
        found += [Fault(f"job {what}", number) for (what, _), true in zip(_FAULTS, broken, strict=True) if true]
    for what, query in (
        ("credit overspent", _OVERSPENT),
        ("credit given back wrongly", _RETURNED),
        ("person tallied wrongly", _TALLIED),
    ):
        rows = await tx.execute_fetchall(f"{query} LIMIT {_MOST}")
        found += [Fault(what, row[0]) for row in rows]
    return tuple(found)


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


async def health(path: Path) -> Health | None:
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
    return Health(version, known, problem or ("rows refer to missing rows" if orphans else ""))


async def integrity_problem(path: Path) -> str:
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


async def ledger_faults(path: Path) -> tuple[Fault, ...] | None:
    """Return what does not come out in the ledger; None where the file can't be read, or is of another version."""
    if not await asyncio.to_thread(path.exists):
        return None
    try:
        async with _opened(path) as db:
            return None if await _version(db) != len(migrate.shipped()) else await faults(db)
    except sqlite3.Error:
        return None


async def count_newcomers(path: Path, platforms: Sequence[str]) -> int:
    """Return how many wait for an owner's answer on these platforms; 0 where the file can't be read, or is of another version."""
    if not await asyncio.to_thread(path.exists):
        return 0
    try:
        async with _opened(path) as db:
            return 0 if await _version(db) != len(migrate.shipped()) else await access_rows.count_open(db, platforms)
    except sqlite3.Error:
        return 0


async def clock_doubted_since(path: Path) -> float | None:
    """Return the last moment (Unix seconds) before the clock may have jumped.

    None where it is believed, or where the file can't be read, or is of another version.
    """
    if not await asyncio.to_thread(path.exists):
        return None
    try:
        async with _opened(path) as db:
            if await _version(db) != len(migrate.shipped()):
                return None
            _, doubt = await read_clock(db)
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
