"""Who is shut out, of one place or of all, and until when."""

from __future__ import annotations

from dataclasses import dataclass

import aiosqlite

from bot.core.jobs import JobState

EVERYWHERE = 0
"""Stands for the place of a ban that holds everywhere."""

_COLUMNS = "bans.platform, bans.user_id, bans.place_id, bans.until, bans.reason, bans.set_by, bans.set_at"


@dataclass(frozen=True, slots=True)
class Ban:
    """One account's ban; it holds for every account of the same person.

    Attributes:
        platform: Whose account.
        user_id: Which.
        place_id: Of which server or group; ``EVERYWHERE`` of all.
        until: Unix seconds; None is for good.
        reason: In the words of whoever set it; data.
        set_by: ``platform:user id``.
        set_at: Unix seconds.
    """

    platform: str
    user_id: str
    place_id: int
    until: float | None
    reason: str
    set_by: str
    set_at: float


async def get(tx: aiosqlite.Connection, platform: str, user_id: str, place_id: int) -> Ban | None:
    """Return the ban of exactly this account and place, also one that has ended; None when there is none."""
    rows = await tx.execute_fetchall(
        f"SELECT {_COLUMNS} FROM bans WHERE platform = ? AND user_id = ? AND place_id = ?",  # noqa: S608 - constants
        (platform, user_id, place_id),
    )
    return next((Ban(*row) for row in rows), None)


async def put(tx: aiosqlite.Connection, ban: Ban) -> None:
    """Set a ban; one that is there already is replaced."""
    await tx.execute_fetchall(
        "INSERT INTO bans (platform, user_id, place_id, until, reason, set_by, set_at) VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (platform, user_id, place_id) DO UPDATE SET until = excluded.until, reason = excluded.reason,"
        " set_by = excluded.set_by, set_at = excluded.set_at",
        (ban.platform, ban.user_id, ban.place_id, ban.until, ban.reason, ban.set_by, ban.set_at),
    )


async def remove(tx: aiosqlite.Connection, platform: str, user_id: str, place_id: int) -> None:
    """Take a ban away, if there is one."""
    await tx.execute_fetchall(
        "DELETE FROM bans WHERE platform = ? AND user_id = ? AND place_id = ?", (platform, user_id, place_id)
    )


async def clamp(tx: aiosqlite.Connection, *, now: float) -> int:
    """Let bans that were set in the future begin now, each for as long as it was meant; returns how many there were.

    They were set before the clock was set back, and would hold for as much longer.
    """
    cursor = await tx.execute(
        "UPDATE bans SET until = ?1 + until - set_at, set_at = ?1 WHERE set_at > ?1 AND until IS NOT NULL", (now,)
    )
    return cursor.rowcount


async def binding(tx: aiosqlite.Connection, person_id: int, place_id: int | None, *, now: float) -> Ban | None:
    """Return the ban that holds longest for any account of a person, in this place or everywhere; None for the free."""
    rows = await tx.execute_fetchall(
        f"SELECT {_COLUMNS} FROM accounts JOIN bans"  # noqa: S608 - constants
        " ON bans.platform = accounts.platform AND bans.user_id = accounts.user_id"
        " WHERE accounts.person_id = ? AND bans.place_id IN (0, ?) AND (bans.until IS NULL OR bans.until > ?)"
        " ORDER BY bans.until IS NULL DESC, bans.until DESC LIMIT 1",
        (person_id, EVERYWHERE if place_id is None else place_id, now),
    )
    return next((Ban(*row) for row in rows), None)


async def of_account(tx: aiosqlite.Connection, platform: str, user_id: str, place_id: int, *, now: float) -> Ban | None:
    """Return the ban that holds longest for an account, in this place or everywhere; None for the free.

    It may be set for another account of the same person, or for an account that has never asked for anything.
    """
    rows = await tx.execute_fetchall(
        f"SELECT {_COLUMNS} FROM bans WHERE place_id IN (0, ?3) AND (until IS NULL OR until > ?4)"  # noqa: S608 - constants
        " AND ((platform = ?1 AND user_id = ?2) OR (platform, user_id) IN (SELECT other.platform, other.user_id"
        " FROM accounts JOIN accounts other ON other.person_id = accounts.person_id"
        " WHERE accounts.platform = ?1 AND accounts.user_id = ?2))"
        " ORDER BY until IS NULL DESC, until DESC LIMIT 1",
        (platform, user_id, place_id, now),
    )
    return next((Ban(*row) for row in rows), None)


async def of_place(tx: aiosqlite.Connection, place_id: int, *, now: float, limit: int = 50) -> tuple[Ban, ...]:
    """Return the bans that hold in a place (``EVERYWHERE``: in all), newest first."""
    rows = await tx.execute_fetchall(
        f"SELECT {_COLUMNS} FROM bans WHERE place_id = ? AND (until IS NULL OR until > ?)"  # noqa: S608 - constants
        " ORDER BY set_at DESC LIMIT ?",
        (place_id, now, limit),
    )
    return tuple(Ban(*row) for row in rows)


async def waiting(
    tx: aiosqlite.Connection, platform: str, user_id: str, place_id: int
) -> tuple[tuple[int, JobState], ...]:
    """Return the jobs that wait of the person who has this account, in one place (``EVERYWHERE``: in all)."""
    rows = await tx.execute_fetchall(
        # The same words as in the partial index jobs_waiting, so that it is used.
        "SELECT id, state FROM jobs WHERE state IN ('held', 'queued', 'running') AND state <> 'running'"
        " AND person_id = (SELECT person_id FROM accounts WHERE platform = ?1 AND user_id = ?2)"
        " AND (?3 = 0 OR place_id = ?3) ORDER BY id",
        (platform, user_id, place_id),
    )
    return tuple((int(row[0]), JobState(row[1])) for row in rows)
