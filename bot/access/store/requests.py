"""Who may come in: one row for each newcomer, and the requests that wait for an owner's answer."""

from __future__ import annotations

from collections.abc import Sequence

import aiosqlite

from bot.core.access import AccessDecision, AccessRequest, Newcomer, SubjectKind

_COLUMNS = "id, platform, kind, subject, name, state, asked_at, told_at, decided_by"
# The same words as in the partial index access_open: SQLite uses it only where it finds them.
_OPEN = "state = 'asked'"
_RECENT = 100
"""So many of a person's last jobs are looked at for one that was asked for here."""


async def find(tx: aiosqlite.Connection, platform: str, kind: SubjectKind, subject: str) -> Newcomer | None:
    """Return the row of a server, group or person; None when they never asked."""
    where = "WHERE platform = ? AND kind = ? AND subject = ?"
    return next(iter(await _select(tx, where, (platform, kind.value, subject))), None)


async def get(tx: aiosqlite.Connection, number: int) -> Newcomer | None:
    """Return a row by its number, or None."""
    return next(iter(await _select(tx, "WHERE id = ?", (number,))), None)


async def add(
    tx: aiosqlite.Connection, platform: str, kind: SubjectKind, subject: str, *, name: str, now: float
) -> Newcomer:
    """Write down that somebody asks to come in; whoever has a row already keeps it as it is."""
    await tx.execute_fetchall(
        "INSERT INTO access (platform, kind, subject, name, state, asked_at) VALUES (?, ?, ?, ?, 'asked', ?)"
        " ON CONFLICT (platform, kind, subject) DO NOTHING",
        (platform, kind.value, subject, name, now),
    )
    newcomer = await find(tx, platform, kind, subject)
    assert newcomer is not None
    return newcomer


async def decide(tx: aiosqlite.Connection, number: int, verdict: AccessDecision, *, by: str, now: float) -> None:
    """Keep an owner's answer. ASKED takes it back: they wait from now on, and may ask once more."""
    await tx.execute_fetchall(
        "UPDATE access SET state = ?, decided_by = ?, decided_at = ?,"
        " asked_at = CASE WHEN ? THEN ? ELSE asked_at END WHERE id = ?",
        (verdict.value, by, now, verdict is AccessDecision.ASKED, now, number),
    )


async def open_requests(
    tx: aiosqlite.Connection, platforms: Sequence[str], *, untold: bool = False
) -> tuple[Newcomer, ...]:
    """Return those who wait for an answer, oldest first.

    Args:
        tx: A transaction.
        platforms: On these alone.
        untold: Only those of whom no owner was told.
    """
    where = f"WHERE {_OPEN} AND platform IN ({', '.join('?' * len(platforms))})"
    if untold:
        where += " AND told_at IS NULL"
    return await _select(tx, f"{where} ORDER BY id", platforms)


async def count_open(tx: aiosqlite.Connection, platforms: Sequence[str]) -> int:
    """Return how many wait for an answer on these platforms."""
    among = ", ".join("?" * len(platforms))
    rows = await tx.execute_fetchall(
        f"SELECT count(*) FROM access WHERE {_OPEN} AND platform IN ({among})",  # noqa: S608 - constants
        tuple(platforms),
    )
    return int(next(iter(rows))[0])


async def told(tx: aiosqlite.Connection, numbers: Sequence[int], *, now: float) -> None:
    """Owners are told of these; in the transaction that writes the messages."""
    for number in numbers:
        await tx.execute_fetchall("UPDATE access SET told_at = ? WHERE id = ?", (now, number))


async def has_asked(tx: aiosqlite.Connection, person_id: int, place_id: int | None, *, since: float) -> bool:
    """Whether a person has asked for pictures in a place (None: in no server or group) since a moment (Unix seconds)."""
    rows = await tx.execute_fetchall(
        "SELECT place_id, created_at FROM jobs WHERE person_id = ? ORDER BY id DESC LIMIT ?", (person_id, _RECENT)
    )
    return any(where == place_id and at >= since for where, at in rows)


async def held(tx: aiosqlite.Connection, newcomer: Newcomer) -> tuple[int, ...]:
    """Return the ids of the jobs that wait for an answer about a newcomer, oldest first."""
    return tuple(row[0] for row in await _held(tx, newcomer))


async def knock(tx: aiosqlite.Connection, newcomer: Newcomer) -> AccessRequest:
    """Return a newcomer with the first request that waits."""
    rows = await _held(tx, newcomer)
    if not rows:
        return AccessRequest(newcomer)
    _, asker, prompt, private = rows[0]
    # What was asked for in private is shown to nobody else.
    return AccessRequest(newcomer, asker=asker, prompt="" if private else prompt, waiting=len(rows))


async def _held(tx: aiosqlite.Connection, newcomer: Newcomer) -> list[tuple[int, str, str, bool]]:
    if newcomer.kind is SubjectKind.PERSON:
        # The words of the partial index jobs_waiting. Of a person with several accounts, this one's alone.
        where = (
            "person_id = (SELECT person_id FROM accounts WHERE platform = ? AND user_id = ?) AND place_id IS NULL"
            " AND account_id = (SELECT id FROM accounts WHERE platform = ? AND user_id = ?)"
            " AND state IN ('held', 'queued', 'running') AND state = 'held'"
        )
        values: tuple[str, ...] = (newcomer.platform, newcomer.subject) * 2
    else:
        # The words of the partial index jobs_open.
        where = (
            "place_id = (SELECT id FROM places WHERE platform = ? AND guild = ?)"
            " AND state IN ('held', 'queued', 'running', 'painted') AND state = 'held'"
        )
        values = (newcomer.platform, newcomer.subject)
    rows = await tx.execute_fetchall(f"SELECT id, asker, typed, private FROM jobs WHERE {where} ORDER BY id", values)  # noqa: S608 - constants
    return [(int(row[0]), str(row[1]), str(row[2]), bool(row[3])) for row in rows]


async def _select(tx: aiosqlite.Connection, where: str, values: Sequence[str | int]) -> tuple[Newcomer, ...]:
    rows = await tx.execute_fetchall(f"SELECT {_COLUMNS} FROM access {where}", values)  # noqa: S608 - constants
    return tuple(
        Newcomer(
            id=row[0],
            platform=row[1],
            kind=SubjectKind(row[2]),
            subject=row[3],
            name=row[4],
            verdict=AccessDecision(row[5]),
            asked_at=row[6],
            told_at=row[7],
            decided_by=row[8],
        )
        for row in rows
    )
