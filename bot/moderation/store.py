"""SQL of moderation: bans, strikes, the strictness of a job and log channels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import aiosqlite

from bot.core.jobs import JobState
from bot.core.messages import Address
from bot.core.strictness import Strictness, strictness_of
from bot.storage import options
from bot.storage.codec import dump_address, load_address
from bot.storage.sql import RowMapper

EVERYWHERE = 0
"""Stands for the place of a ban that holds everywhere."""


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


@dataclass(frozen=True, slots=True)
class Strikes:
    """How often an account was refused, and when last (Unix seconds)."""

    count: int
    last_at: float


_BANS = RowMapper(Ban, "bans")


async def get_ban(tx: aiosqlite.Connection, platform: str, user_id: str, place_id: int) -> Ban | None:
    """Return the ban of exactly this account and place, also one that has ended; None when there is none."""
    return await _BANS.select_one(
        tx, "WHERE platform = ? AND user_id = ? AND place_id = ?", (platform, user_id, place_id)
    )


async def put_ban(tx: aiosqlite.Connection, ban: Ban) -> None:
    """Set a ban; one that is there already is replaced."""
    keys = ("platform", "user_id", "place_id")
    await _BANS.insert(tx, ban, f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {_BANS.excluded(*keys)}")


async def remove_ban(tx: aiosqlite.Connection, platform: str, user_id: str, place_id: int) -> None:
    """Take a ban away, if there is one."""
    await tx.execute_fetchall(
        "DELETE FROM bans WHERE platform = ? AND user_id = ? AND place_id = ?", (platform, user_id, place_id)
    )


async def clamp_bans(tx: aiosqlite.Connection, *, now: float) -> int:
    """Let bans that were set in the future begin now, each for as long as it was meant; returns how many there were.

    They were set before the clock was set back, and would hold for as much longer.
    """
    cursor = await tx.execute(
        "UPDATE bans SET until = ?1 + until - set_at, set_at = ?1 WHERE set_at > ?1 AND until IS NOT NULL", (now,)
    )
    return cursor.rowcount


async def active_ban(tx: aiosqlite.Connection, person_id: int, place_id: int | None, *, now: float) -> Ban | None:
    """Return the ban that holds longest for any account of a person, in this place or everywhere; None for the free."""
    return await _BANS.fetch_one(
        tx,
        f"SELECT {_BANS.qualified('bans')} FROM accounts JOIN bans"  # noqa: S608 - constants
        " ON bans.platform = accounts.platform AND bans.user_id = accounts.user_id"
        " WHERE accounts.person_id = ? AND bans.place_id IN (0, ?) AND (bans.until IS NULL OR bans.until > ?)"
        " ORDER BY bans.until IS NULL DESC, bans.until DESC LIMIT 1",
        (person_id, EVERYWHERE if place_id is None else place_id, now),
    )


async def active_ban_of_account(
    tx: aiosqlite.Connection, platform: str, user_id: str, place_id: int, *, now: float
) -> Ban | None:
    """Return the ban that holds longest for an account, in this place or everywhere; None for the free.

    It may be set for another account of the same person, or for an account that has never asked for anything.
    """
    return await _BANS.select_one(
        tx,
        "WHERE place_id IN (0, ?3) AND (until IS NULL OR until > ?4)"
        " AND ((platform = ?1 AND user_id = ?2) OR (platform, user_id) IN (SELECT other.platform, other.user_id"
        " FROM accounts JOIN accounts other ON other.person_id = accounts.person_id"
        " WHERE accounts.platform = ?1 AND accounts.user_id = ?2))"
        " ORDER BY until IS NULL DESC, until DESC LIMIT 1",
        (platform, user_id, place_id, now),
    )


async def bans_of_place(tx: aiosqlite.Connection, place_id: int, *, now: float, limit: int = 50) -> tuple[Ban, ...]:
    """Return the bans that hold in a place (``EVERYWHERE``: in all), newest first."""
    return await _BANS.select(
        tx,
        "WHERE place_id = ? AND (until IS NULL OR until > ?) ORDER BY set_at DESC LIMIT ?",
        (place_id, now, limit),
    )


async def waiting_jobs(
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


async def get_strikes(tx: aiosqlite.Connection, person_id: int) -> Strikes | None:
    """Return the strikes of the person's account that has most of them; None when there are none."""
    rows = await tx.execute_fetchall(
        "SELECT strikes.count, strikes.last_at FROM accounts JOIN strikes ON strikes.account_id = accounts.id"
        " WHERE accounts.person_id = ? ORDER BY strikes.count DESC, strikes.last_at DESC LIMIT 1",
        (person_id,),
    )
    return next((Strikes(int(row[0]), float(row[1])) for row in rows), None)


async def put_strikes(tx: aiosqlite.Connection, account_id: int, strikes: Strikes) -> None:
    """Keep an account's strikes."""
    await tx.execute_fetchall(
        "INSERT INTO strikes (account_id, count, last_at) VALUES (?, ?, ?)"
        " ON CONFLICT (account_id) DO UPDATE SET count = excluded.count, last_at = excluded.last_at",
        (account_id, strikes.count, strikes.last_at),
    )


async def strictness_of_job(tx: aiosqlite.Connection, job_id: int) -> Strictness:
    """Return it; OFF for a job that is not there."""
    rows = await tx.execute_fetchall("SELECT strictness FROM jobs WHERE id = ?", (job_id,))
    return next((strictness_of(row[0]) or Strictness.OFF for row in rows), Strictness.OFF)


LOG_CHANNEL = "log"
"""The option: an address, or ``LOG_OFF``."""

LOG_OFF = "off"
"""The value of a place that wants to be told nothing, not even what the owners would be."""


def log_channel_value(address: Address) -> Mapping[str, object]:
    """Return an address as the option's value."""
    value: Mapping[str, object] = json.loads(dump_address(address))
    return value


async def log_channel_of(tx: aiosqlite.Connection, place_id: int | None) -> Address | None:
    """Return where a place is told, or else the owners of everything; None is nowhere. None stands for direct messages."""
    value = (await options.read(tx, place_id)).binding(LOG_CHANNEL)
    return None if value in (None, LOG_OFF) else load_address(json.dumps(value))


async def log_is_off(tx: aiosqlite.Connection, place_id: int) -> bool:
    """Whether the place's own admins want to be told nothing."""
    return await options.get(tx, place_id, LOG_CHANNEL) == LOG_OFF
