"""SQL of newcomers: access requests, decisions, and their held jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bot.core.access import AccessDecision, AccessRequest, Newcomer, SubjectKind
from bot.storage.database import Tx
from bot.storage.sql import RowMapper

_NEWCOMERS = RowMapper(Newcomer, "access", columns={"verdict": "state"})
# The condition of the partial index access_open, word for word, so that SQLite uses it.
_OPEN = "state = 'asked'"

_RECENT = 100
"""How many of a person's last jobs are searched for one in a place."""


async def find_newcomer(tx: Tx, platform: str, kind: SubjectKind, subject: str) -> Newcomer | None:
    """Return the row of a server, group or person; None if there is none."""
    where = "WHERE platform = ? AND kind = ? AND subject = ?"
    return await _NEWCOMERS.select_one(tx, where, (platform, kind.value, subject))


async def get_newcomer(tx: Tx, number: int) -> Newcomer | None:
    """Return a newcomer by number; None if there is none."""
    return await _NEWCOMERS.select_one(tx, "WHERE id = ?", (number,))


async def add_newcomer(tx: Tx, platform: str, kind: SubjectKind, subject: str, *, name: str, now: float) -> Newcomer:
    """Store a newcomer who waits for an answer; an existing row stays as it is."""
    await tx.execute_fetchall(
        "INSERT INTO access (platform, kind, subject, name, state, asked_at) VALUES (?, ?, ?, ?, 'asked', ?)"
        " ON CONFLICT (platform, kind, subject) DO NOTHING",
        (platform, kind.value, subject, name, now),
    )
    newcomer = await find_newcomer(tx, platform, kind, subject)
    assert newcomer is not None
    return newcomer


async def set_decision(tx: Tx, number: int, verdict: AccessDecision, *, by: str, now: float) -> None:
    """Store an owner's answer. ASKED revokes it: the newcomer waits again from now on."""
    await tx.execute_fetchall(
        "UPDATE access SET state = ?, decided_by = ?, decided_at = ?,"
        " asked_at = CASE WHEN ? THEN ? ELSE asked_at END WHERE id = ?",
        (verdict.value, by, now, verdict is AccessDecision.ASKED, now, number),
    )


async def open_requests(tx: Tx, platforms: Sequence[str], *, untold: bool = False) -> tuple[Newcomer, ...]:
    """Return the newcomers that wait for an answer, oldest first.

    Args:
        tx: A transaction.
        platforms: Only those on these platforms.
        untold: Only those that no digest has mentioned.
    """
    where = f"WHERE {_OPEN} AND platform IN ({', '.join('?' * len(platforms))})"
    if untold:
        where += " AND told_at IS NULL"
    return await _NEWCOMERS.select(tx, f"{where} ORDER BY id", platforms)


async def count_open(tx: Tx, platforms: Sequence[str]) -> int:
    """Return how many newcomers wait for an answer on these platforms."""
    among = ", ".join("?" * len(platforms))
    rows = await tx.execute_fetchall(
        f"SELECT count(*) FROM access WHERE {_OPEN} AND platform IN ({among})",  # noqa: S608 - constants
        tuple(platforms),
    )
    return int(next(iter(rows))[0])


async def mark_told(tx: Tx, numbers: Sequence[int], *, now: float) -> None:
    """Record that a digest mentions these newcomers, in the transaction that writes it."""
    for number in numbers:
        await tx.execute_fetchall("UPDATE access SET told_at = ? WHERE id = ?", (now, number))


async def has_asked(tx: Tx, person_id: int, place_id: int | None, *, since: float) -> bool:
    """Return whether a person has made a request in a place (None: outside of places) since then (Unix seconds)."""
    rows = await tx.execute_fetchall(
        "SELECT place_id, created_at FROM jobs WHERE person_id = ? ORDER BY id DESC LIMIT ?", (person_id, _RECENT)
    )
    return any(where == place_id and at >= since for where, at in rows)


@dataclass(frozen=True, slots=True)
class _HeldJob:
    id: int
    asker: str
    typed: str
    private: bool


_HELD = RowMapper(_HeldJob, "jobs")


async def held_jobs(tx: Tx, newcomer: Newcomer) -> tuple[int, ...]:
    """Return the ids of a newcomer's held jobs, oldest first."""
    return tuple(job.id for job in await _held_rows(tx, newcomer))


async def access_request(tx: Tx, newcomer: Newcomer) -> AccessRequest:
    """Return a newcomer with their first held job."""
    held = await _held_rows(tx, newcomer)
    if not held:
        return AccessRequest(newcomer)
    first = held[0]
    # A private prompt is shown to nobody else.
    return AccessRequest(newcomer, asker=first.asker, prompt="" if first.private else first.typed, waiting=len(held))


async def _held_rows(tx: Tx, newcomer: Newcomer) -> tuple[_HeldJob, ...]:
    if newcomer.kind is SubjectKind.PERSON:
        # The condition of the partial index jobs_waiting. A person may have several accounts: only this one's.
        where = (
            "person_id = (SELECT person_id FROM accounts WHERE platform = ? AND user_id = ?) AND place_id IS NULL"
            " AND account_id = (SELECT id FROM accounts WHERE platform = ? AND user_id = ?)"
            " AND state IN ('held', 'queued', 'running') AND state = 'held'"
        )
        values: tuple[str, ...] = (newcomer.platform, newcomer.subject) * 2
    else:
        # The condition of the partial index jobs_open.
        where = (
            "place_id = (SELECT id FROM places WHERE platform = ? AND guild = ?)"
            " AND state IN ('held', 'queued', 'running', 'painted') AND state = 'held'"
        )
        values = (newcomer.platform, newcomer.subject)
    return await _HELD.select(tx, f"WHERE {where} ORDER BY id", values)
