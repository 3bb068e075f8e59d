"""SQL of moderation: bans, strikes, the strictness of jobs, and log channels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from bot.core.jobs import JobState
from bot.core.messages import Address
from bot.core.strictness import Strictness
from bot.storage import people
from bot.storage.database import Tx
from bot.storage.sql import RowMapper, dump_address, load_address

EVERYWHERE = 0
"""The place id of a ban that applies everywhere."""

LOG_CHANNEL = "log"
"""Option of a place: the address of its log channel, or ``LOG_OFF``."""

LOG_OFF = "off"
"""The value of LOG_CHANNEL for no notices at all, not even to the owners."""


@dataclass(frozen=True, slots=True)
class Ban:
    """A ban of one account; it applies to every account of the same person.

    Attributes:
        platform: The account's platform.
        user_id: The account's user id there.
        place_id: The server or group; ``EVERYWHERE`` for all.
        until: Unix seconds; None is for good.
        reason: In the admin's words; data.
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


async def get_ban(tx: Tx, platform: str, user_id: str, place_id: int) -> Ban | None:
    """Return the ban of exactly this account and place, even if it has ended; None if there is none."""
    return await _BANS.select_one(
        tx, "WHERE platform = ? AND user_id = ? AND place_id = ?", (platform, user_id, place_id)
    )


async def put_ban(tx: Tx, ban: Ban) -> None:
    """Store a ban; an existing one is replaced."""
    keys = ("platform", "user_id", "place_id")
    await _BANS.insert(tx, ban, f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {_BANS.excluded(*keys)}")


async def remove_ban(tx: Tx, platform: str, user_id: str, place_id: int) -> None:
    """Delete a ban, if there is one."""
    await tx.execute_fetchall(
        "DELETE FROM bans WHERE platform = ? AND user_id = ? AND place_id = ?", (platform, user_id, place_id)
    )


async def clamp_bans(tx: Tx, *, now: float) -> int:
    """Move bans that were set in the future to now, with their duration unchanged; returns how many there were.

    They were set before the clock was set back, and would hold for as much longer.
    """
    cursor = await tx.execute(
        "UPDATE bans SET until = ?1 + until - set_at, set_at = ?1 WHERE set_at > ?1 AND until IS NOT NULL", (now,)
    )
    return cursor.rowcount


async def active_ban(tx: Tx, person_id: int, place_id: int | None, *, now: float) -> Ban | None:
    """Return the longest active ban of any account of a person, in this place or everywhere; None if there is none."""
    return await _BANS.fetch_one(
        tx,
        f"SELECT {_BANS.qualified('bans')} FROM accounts JOIN bans"  # noqa: S608 - constants
        " ON bans.platform = accounts.platform AND bans.user_id = accounts.user_id"
        " WHERE accounts.person_id = ? AND bans.place_id IN (0, ?) AND (bans.until IS NULL OR bans.until > ?)"
        " ORDER BY bans.until IS NULL DESC, bans.until DESC LIMIT 1",
        (person_id, EVERYWHERE if place_id is None else place_id, now),
    )


async def active_ban_of_account(tx: Tx, platform: str, user_id: str, place_id: int, *, now: float) -> Ban | None:
    """Return the longest active ban of an account, in this place or everywhere; None if there is none.

    It may be of another account of the same person. The account may have no row yet.
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


async def bans_of_place(tx: Tx, place_id: int, *, now: float, limit: int = 50) -> tuple[Ban, ...]:
    """Return the active bans of a place (``EVERYWHERE``: those that apply everywhere), newest first."""
    return await _BANS.select(
        tx,
        "WHERE place_id = ? AND (until IS NULL OR until > ?) ORDER BY set_at DESC LIMIT ?",
        (place_id, now, limit),
    )


async def waiting_jobs(tx: Tx, platform: str, user_id: str, place_id: int) -> tuple[tuple[int, JobState], ...]:
    """Return the held and queued jobs of an account's person in a place (``EVERYWHERE``: in all places)."""
    rows = await tx.execute_fetchall(
        # The condition of the partial index jobs_waiting, word for word, so that SQLite uses it.
        "SELECT id, state FROM jobs WHERE state IN ('held', 'queued', 'running') AND state <> 'running'"
        " AND person_id = (SELECT person_id FROM accounts WHERE platform = ?1 AND user_id = ?2)"
        " AND (?3 = 0 OR place_id = ?3) ORDER BY id",
        (platform, user_id, place_id),
    )
    return tuple((int(row[0]), JobState(row[1])) for row in rows)


async def get_strikes(tx: Tx, person_id: int) -> Strikes | None:
    """Return the strikes of the person's account that has the most; None if there are none."""
    rows = await tx.execute_fetchall(
        "SELECT strikes.count, strikes.last_at FROM accounts JOIN strikes ON strikes.account_id = accounts.id"
        " WHERE accounts.person_id = ? ORDER BY strikes.count DESC, strikes.last_at DESC LIMIT 1",
        (person_id,),
    )
    return next((Strikes(int(row[0]), float(row[1])) for row in rows), None)


async def put_strikes(tx: Tx, account_id: int, strikes: Strikes) -> None:
    """Store an account's strikes."""
    await tx.execute_fetchall(
        "INSERT INTO strikes (account_id, count, last_at) VALUES (?, ?, ?)"
        " ON CONFLICT (account_id) DO UPDATE SET count = excluded.count, last_at = excluded.last_at",
        (account_id, strikes.count, strikes.last_at),
    )


class ReportAnswer(StrEnum):
    """An owner's answer to a report. OPEN: there is none yet."""

    OPEN = ""
    HIDDEN = "hidden"
    DISMISSED = "dismissed"


@dataclass(frozen=True, slots=True)
class Report:
    """A report of a picture, or of all pictures of a job.

    Attributes:
        id: Its number.
        job_id: The job.
        index: The picture, 0-based; -1 for all.
        at: Unix seconds.
        answer: An owner's answer.
        answered_by: ``platform:user id``; empty without an answer.
        platform: The platform of the account that reported it.
        user_id: Their id there.
        reporter: Their name; data.
    """

    id: int
    job_id: int
    index: int
    at: float
    answer: ReportAnswer
    answered_by: str
    platform: str
    user_id: str
    reporter: str


_REPORTS = RowMapper(
    Report,
    columns={
        "id": "r.id",
        "job_id": "r.job_id",
        "index": 'r."index"',
        "at": "r.at",
        "answer": "r.answer",
        "answered_by": "r.answered_by",
        "platform": "a.platform",
        "user_id": "a.user_id",
        "reporter": "a.name",
    },
)
_FROM_REPORTS = " FROM reports r JOIN accounts a ON a.id = r.account_id"
# The condition of the partial index reports_open.
_UNANSWERED = "answer = ''"


async def add_report(tx: Tx, job_id: int, index: int | None, account_id: int, *, now: float) -> None:
    """Store a report; a repetition changes nothing. ``index`` None: all pictures of the job."""
    await tx.execute_fetchall(
        'INSERT INTO reports (job_id, "index", account_id, at) VALUES (?, ?, ?, ?)'
        ' ON CONFLICT (job_id, "index", account_id) DO NOTHING',
        (job_id, -1 if index is None else index, account_id, now),
    )


async def recent_reports(tx: Tx, *, limit: int) -> tuple[Report, ...]:
    """Return the last reports: those without an answer first, then the newest first."""
    columns = f"SELECT {_REPORTS.columns}{_FROM_REPORTS}"
    unanswered = await _REPORTS.fetch(tx, f"{columns} WHERE r.{_UNANSWERED} ORDER BY r.id DESC LIMIT ?", (limit,))
    rest = limit - len(unanswered)
    answered = await _REPORTS.fetch(
        tx, f"{columns} WHERE r.id < ? AND r.answer <> '' ORDER BY r.id DESC LIMIT ?", (2**62, rest)
    )
    return (*unanswered, *answered)


async def get_report(tx: Tx, number: int) -> Report | None:
    """Return a report by its number; None if there is none."""
    return await _REPORTS.fetch_one(tx, f"SELECT {_REPORTS.columns}{_FROM_REPORTS} WHERE r.id = ?", (number,))


async def count_reports(tx: Tx) -> int:
    """Return how many reports have no answer."""
    rows = await tx.execute_fetchall(f"SELECT count(*) FROM reports WHERE {_UNANSWERED}")  # noqa: S608 - a constant
    return int(next(iter(rows))[0])


async def answer_reports(tx: Tx, job_id: int, index: int | None, answer: ReportAnswer, *, by: str) -> None:
    """Answer the reports of a picture, or of all pictures of a job (``index`` None or -1)."""
    every = index is None or index < 0
    await tx.execute_fetchall(
        f'UPDATE reports SET answer = ?, answered_by = ? WHERE job_id = ? AND (? OR "index" = ?) AND {_UNANSWERED}',  # noqa: S608
        (answer.value, by, job_id, every, index),
    )


def parse_strictness(value: object) -> Strictness | None:
    """Return a stored strictness; None if it is not set or unknown."""
    return Strictness(value) if isinstance(value, str) and value in set(Strictness) else None


async def strictness_of_job(tx: Tx, job_id: int) -> Strictness:
    """Return the strictness by which a job's pictures are judged; OFF if there is no such job."""
    rows = await tx.execute_fetchall("SELECT strictness FROM jobs WHERE id = ?", (job_id,))
    return next((parse_strictness(row[0]) or Strictness.OFF for row in rows), Strictness.OFF)


def log_channel_value(address: Address) -> Mapping[str, object]:
    """Return the option's value for an address."""
    value: Mapping[str, object] = json.loads(dump_address(address))
    return value


async def log_channel_of(tx: Tx, place_id: int | None) -> Address | None:
    """Return a place's log channel, else the one for all places; None if there is none. ``place_id`` None: no place."""
    value = (await people.read_options(tx, place_id)).binding(LOG_CHANNEL)
    return None if value in (None, LOG_OFF) else load_address(json.dumps(value))


async def log_is_off(tx: Tx, place_id: int) -> bool:
    """Return whether the place's admins have turned notices off."""
    return await people.get_option(tx, place_id, LOG_CHANNEL) == LOG_OFF
