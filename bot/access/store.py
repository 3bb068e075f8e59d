"""SQL of access: access requests, one-time codes and wrong attempts."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import aiosqlite

from bot.core.access import AccessDecision, AccessRequest, Newcomer, SubjectKind
from bot.storage.sql import RowMapper

_NEWCOMERS = RowMapper(Newcomer, "access", columns={"verdict": "state"})
# The same words as in the partial index access_open: SQLite uses it only where it finds them.
_OPEN = "state = 'asked'"
_RECENT = 100
"""So many of a person's last jobs are looked at for one that was asked for here."""


async def find_newcomer(tx: aiosqlite.Connection, platform: str, kind: SubjectKind, subject: str) -> Newcomer | None:
    """Return the row of a server, group or person; None when they never asked."""
    where = "WHERE platform = ? AND kind = ? AND subject = ?"
    return await _NEWCOMERS.select_one(tx, where, (platform, kind.value, subject))


async def get_newcomer(tx: aiosqlite.Connection, number: int) -> Newcomer | None:
    """Return a row by its number, or None."""
    return await _NEWCOMERS.select_one(tx, "WHERE id = ?", (number,))


async def add_newcomer(
    tx: aiosqlite.Connection, platform: str, kind: SubjectKind, subject: str, *, name: str, now: float
) -> Newcomer:
    """Write down that somebody asks to come in; whoever has a row already keeps it as it is."""
    await tx.execute_fetchall(
        "INSERT INTO access (platform, kind, subject, name, state, asked_at) VALUES (?, ?, ?, ?, 'asked', ?)"
        " ON CONFLICT (platform, kind, subject) DO NOTHING",
        (platform, kind.value, subject, name, now),
    )
    newcomer = await find_newcomer(tx, platform, kind, subject)
    assert newcomer is not None
    return newcomer


async def set_decision(tx: aiosqlite.Connection, number: int, verdict: AccessDecision, *, by: str, now: float) -> None:
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
    return await _NEWCOMERS.select(tx, f"{where} ORDER BY id", platforms)


async def count_open(tx: aiosqlite.Connection, platforms: Sequence[str]) -> int:
    """Return how many wait for an answer on these platforms."""
    among = ", ".join("?" * len(platforms))
    rows = await tx.execute_fetchall(
        f"SELECT count(*) FROM access WHERE {_OPEN} AND platform IN ({among})",  # noqa: S608 - constants
        tuple(platforms),
    )
    return int(next(iter(rows))[0])


async def mark_told(tx: aiosqlite.Connection, numbers: Sequence[int], *, now: float) -> None:
    """Owners are told of these; in the transaction that writes the messages."""
    for number in numbers:
        await tx.execute_fetchall("UPDATE access SET told_at = ? WHERE id = ?", (now, number))


async def has_asked(tx: aiosqlite.Connection, person_id: int, place_id: int | None, *, since: float) -> bool:
    """Whether a person has asked for pictures in a place (None: in no server or group) since a moment (Unix seconds)."""
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


async def held_jobs(tx: aiosqlite.Connection, newcomer: Newcomer) -> tuple[int, ...]:
    """Return the ids of the jobs that wait for an answer about a newcomer, oldest first."""
    return tuple(job.id for job in await _held_rows(tx, newcomer))


async def access_request(tx: aiosqlite.Connection, newcomer: Newcomer) -> AccessRequest:
    """Return a newcomer with the first request that waits."""
    held = await _held_rows(tx, newcomer)
    if not held:
        return AccessRequest(newcomer)
    first = held[0]
    # What was asked for in private is shown to nobody else.
    return AccessRequest(newcomer, asker=first.asker, prompt="" if first.private else first.typed, waiting=len(held))


async def _held_rows(tx: aiosqlite.Connection, newcomer: Newcomer) -> tuple[_HeldJob, ...]:
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
    return await _HELD.select(tx, f"WHERE {where} ORDER BY id", values)


CODE_SECONDS = 600.0
"""How long a code lives."""

CODE_TRIES = 5
"""How often a wrong code that begins like a link's code may be typed before that is worth nothing."""

CLAIM_TRIES = 50
"""How many wrong claim codes all people together may type until each may try but once. They never end the code: anybody can
type wrong ones."""

_LETTERS = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Without those that look alike (0 and O, 1, I and L) and without U: no code spells a word."""

_LENGTH = 8
_FIRST = 3


class CodeKind(StrEnum):
    """CLAIM makes an account an owner's, LINK joins it to the one that asked for the code."""

    CLAIM = "claim"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class RedeemedCode:
    """What came of a typed code.

    Attributes:
        found: It was right, and is used now.
        account_id: Whose code it was (LINK).
        tries_left: After a wrong one: how many are left, for everybody together, before a link's code is worth nothing, or
            before a claim is only tried once by each; 0 when there is none to guess.
        live: After a wrong one: whether there is a code to guess.
    """

    found: bool
    account_id: int | None = None
    tries_left: int = 0
    live: bool = False


@dataclass(frozen=True, slots=True)
class _Code:
    id: int
    digest: str
    account_id: int | None
    tries_left: int


_CODES = RowMapper(_Code, "codes")


async def create_code(tx: aiosqlite.Connection, kind: CodeKind, account_id: int | None, now: float) -> str:
    """Make a code and return it as it is typed (``ABCD-EFGH``); only its digest is kept.

    It takes the place of the earlier code of the same account; there is one claim code at a time.

    Args:
        tx: A writing transaction.
        kind: What it is for.
        account_id: Who asked for it (LINK); None for a claim.
        now: Unix seconds.
    """
    await tx.execute_fetchall(
        "DELETE FROM codes WHERE kind = ? AND (expires_at <= ? OR account_id IS ?)", (kind.value, now, account_id)
    )
    code = "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
    salt = secrets.token_hex(16)
    tries = CLAIM_TRIES if kind is CodeKind.CLAIM else CODE_TRIES
    await tx.execute_fetchall(
        "INSERT INTO codes (kind, digest, account_id, expires_at, tries_left) VALUES (?, ?, ?, ?, ?)",
        (kind.value, f"{code[:_FIRST]}:{salt}:{_digest(salt, code)}", account_id, now + CODE_SECONDS, tries),
    )
    return f"{code[: _LENGTH // 2]}-{code[_LENGTH // 2 :]}"


async def redeem_code(tx: aiosqlite.Connection, kind: CodeKind, typed: str, now: float) -> RedeemedCode:
    """Use a code. Nothing is raised for a wrong one: the try that it cost has to be committed.

    A wrong code counts against each link's code that begins alike, so that nobody wears out the codes of all others.
    There is only one claim code: every wrong one is counted, but ends it never.

    Args:
        tx: A writing transaction.
        kind: What it is for.
        typed: As somebody typed it; case and whatever stands between the letters mean nothing.
        now: Unix seconds.
    """
    code = "".join(letter for letter in typed.upper() if letter.isalnum())
    codes = await _CODES.select(
        tx,
        "WHERE kind = ? AND expires_at > ? AND expires_at <= ? AND used_at IS NULL"
        " AND (tries_left > 0 OR kind = 'claim') ORDER BY expires_at",
        # One that would live for longer was made before the clock was set back.
        (kind.value, now, now + CODE_SECONDS),
    )
    right: _Code | None = None
    meant: list[_Code] = []
    for stored in codes:
        first, salt, digest = stored.digest.split(":")
        # Every row is compared, and each in constant time: how long it takes says nothing.
        if hmac.compare_digest(digest, _digest(salt, code)):
            right = stored
        if kind is CodeKind.CLAIM or first == code[:_FIRST]:
            meant.append(stored)
    if right is not None:
        await tx.execute_fetchall("UPDATE codes SET used_at = ? WHERE id = ?", (now, right.id))
        return RedeemedCode(found=True, account_id=right.account_id)
    for stored in meant:
        await tx.execute_fetchall("UPDATE codes SET tries_left = max(0, tries_left - 1) WHERE id = ?", (stored.id,))
    tries_left = max((stored.tries_left - 1 for stored in meant if stored.tries_left), default=0)
    return RedeemedCode(found=False, tries_left=tries_left, live=bool(meant))


async def is_guessed_often(tx: aiosqlite.Connection, now: float) -> bool:
    """Whether the number of wrong claim codes leaves each person one try."""
    rows = await tx.execute_fetchall(
        "SELECT 1 FROM codes WHERE kind = 'claim' AND expires_at > ? AND expires_at <= ? AND used_at IS NULL"
        " AND tries_left = 0",
        (now, now + CODE_SECONDS),
    )
    return any(True for _ in rows)


def _digest(salt: str, code: str) -> str:
    return hashlib.sha256(f"{salt}:{code}".encode()).hexdigest()


ATTEMPTS = 5
ATTEMPTS_SECONDS = 600.0
"""So many wrong codes may be typed in so much time."""


async def attempts_left(tx: aiosqlite.Connection, account_id: int, now: float) -> tuple[int, float]:
    """Return how many tries an account has left, and in how many seconds it has all of them again."""
    rows = await tx.execute_fetchall("SELECT count, since FROM guesses WHERE account_id = ?", (account_id,))
    for count, since in rows:
        # A time in the future is of a clock that was set back since.
        if since <= now < since + ATTEMPTS_SECONDS:
            return max(0, ATTEMPTS - count), since + ATTEMPTS_SECONDS - now
    return ATTEMPTS, 0.0


async def count_wrong_code(tx: aiosqlite.Connection, account_id: int, now: float) -> int:
    """Count a wrong code; returns how many tries are left. The time runs from the first wrong one on."""
    await tx.execute_fetchall(
        "INSERT INTO guesses (account_id, count, since) VALUES (?, 1, ?) ON CONFLICT (account_id) DO UPDATE SET"
        " count = CASE WHEN excluded.since >= since AND excluded.since < since + ? THEN count + 1 ELSE 1 END,"
        " since = CASE WHEN excluded.since >= since AND excluded.since < since + ? THEN since ELSE excluded.since END",
        (account_id, now, ATTEMPTS_SECONDS, ATTEMPTS_SECONDS),
    )
    return (await attempts_left(tx, account_id, now))[0]
