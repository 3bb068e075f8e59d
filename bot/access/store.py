"""SQL of access: newcomers and their held jobs, one-time codes, and wrong attempts."""

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
# The condition of the partial index access_open, word for word, so that SQLite uses it.
_OPEN = "state = 'asked'"
_RECENT = 100
"""How many of a person's last jobs are searched for one in a place."""


async def find_newcomer(tx: aiosqlite.Connection, platform: str, kind: SubjectKind, subject: str) -> Newcomer | None:
    """Return the row of a server, group or person; None if there is none."""
    where = "WHERE platform = ? AND kind = ? AND subject = ?"
    return await _NEWCOMERS.select_one(tx, where, (platform, kind.value, subject))


async def get_newcomer(tx: aiosqlite.Connection, number: int) -> Newcomer | None:
    """Return a newcomer by number; None if there is none."""
    return await _NEWCOMERS.select_one(tx, "WHERE id = ?", (number,))


async def add_newcomer(
    tx: aiosqlite.Connection, platform: str, kind: SubjectKind, subject: str, *, name: str, now: float
) -> Newcomer:
    """Store a newcomer who waits for an answer; an existing row stays as it is."""
    await tx.execute_fetchall(
        "INSERT INTO access (platform, kind, subject, name, state, asked_at) VALUES (?, ?, ?, ?, 'asked', ?)"
        " ON CONFLICT (platform, kind, subject) DO NOTHING",
        (platform, kind.value, subject, name, now),
    )
    newcomer = await find_newcomer(tx, platform, kind, subject)
    assert newcomer is not None
    return newcomer


async def set_decision(tx: aiosqlite.Connection, number: int, verdict: AccessDecision, *, by: str, now: float) -> None:
    """Store an owner's answer. ASKED revokes it: the newcomer waits again from now on."""
    await tx.execute_fetchall(
        "UPDATE access SET state = ?, decided_by = ?, decided_at = ?,"
        " asked_at = CASE WHEN ? THEN ? ELSE asked_at END WHERE id = ?",
        (verdict.value, by, now, verdict is AccessDecision.ASKED, now, number),
    )


async def open_requests(
    tx: aiosqlite.Connection, platforms: Sequence[str], *, untold: bool = False
) -> tuple[Newcomer, ...]:
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


async def count_open(tx: aiosqlite.Connection, platforms: Sequence[str]) -> int:
    """Return how many newcomers wait for an answer on these platforms."""
    among = ", ".join("?" * len(platforms))
    rows = await tx.execute_fetchall(
        f"SELECT count(*) FROM access WHERE {_OPEN} AND platform IN ({among})",  # noqa: S608 - constants
        tuple(platforms),
    )
    return int(next(iter(rows))[0])


async def mark_told(tx: aiosqlite.Connection, numbers: Sequence[int], *, now: float) -> None:
    """Record that a digest mentions these newcomers, in the transaction that writes it."""
    for number in numbers:
        await tx.execute_fetchall("UPDATE access SET told_at = ? WHERE id = ?", (now, number))


async def has_asked(tx: aiosqlite.Connection, person_id: int, place_id: int | None, *, since: float) -> bool:
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


async def held_jobs(tx: aiosqlite.Connection, newcomer: Newcomer) -> tuple[int, ...]:
    """Return the ids of a newcomer's held jobs, oldest first."""
    return tuple(job.id for job in await _held_rows(tx, newcomer))


async def access_request(tx: aiosqlite.Connection, newcomer: Newcomer) -> AccessRequest:
    """Return a newcomer with their first held job."""
    held = await _held_rows(tx, newcomer)
    if not held:
        return AccessRequest(newcomer)
    first = held[0]
    # A private prompt is shown to nobody else.
    return AccessRequest(newcomer, asker=first.asker, prompt="" if first.private else first.typed, waiting=len(held))


async def _held_rows(tx: aiosqlite.Connection, newcomer: Newcomer) -> tuple[_HeldJob, ...]:
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


CODE_SECONDS = 600.0
"""Lifetime of a code."""

CODE_TRIES = 5
"""Wrong codes with the same prefix that invalidate a link code."""

CLAIM_TRIES = 50
"""Wrong claim codes, of all people together, after which each person has one try. They never invalidate the code, since
anybody can type wrong ones."""

_LETTERS = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Letters of codes: none that look alike (0 and O, 1, I and L), and no U, so that fewer codes spell a word."""

_LENGTH = 8
_PREFIX = 3


class CodeKind(StrEnum):
    """CLAIM makes an account an owner's; LINK joins it to the account that requested the code."""

    CLAIM = "claim"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class RedeemedCode:
    """The result of a typed code.

    Attributes:
        found: The code was right, and is used up now.
        account_id: The account that requested it (LINK).
        tries_left: After a wrong code: the tries left, of all people together, until a link code is invalid or each person
            has one try for a claim; 0 if there is no code.
        live: After a wrong code: whether there is a code.
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
    """Create a code and return it as people type it (``ABCD-EFGH``); only its digest is stored.

    It replaces the earlier code of the same account; there is one claim code at a time.

    Args:
        tx: A writing transaction.
        kind: Its kind.
        account_id: The account that requests it (LINK); None for a claim.
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
        (kind.value, f"{code[:_PREFIX]}:{salt}:{_digest(salt, code)}", account_id, now + CODE_SECONDS, tries),
    )
    return f"{code[: _LENGTH // 2]}-{code[_LENGTH // 2 :]}"


async def redeem_code(tx: aiosqlite.Connection, kind: CodeKind, typed: str, now: float) -> RedeemedCode:
    """Use up a code. A wrong code raises nothing, because its try has to be committed.

    A wrong code counts against the link codes with the same prefix, so that nobody can invalidate the codes of all
    others. There is one claim code: every wrong code counts, but never invalidates it.

    Args:
        tx: A writing transaction.
        kind: Its kind.
        typed: The code as typed; case, spaces and signs do not matter.
        now: Unix seconds.
    """
    code = "".join(letter for letter in typed.upper() if letter.isalnum())
    codes = await _CODES.select(
        tx,
        "WHERE kind = ? AND expires_at > ? AND expires_at <= ? AND used_at IS NULL"
        " AND (tries_left > 0 OR kind = 'claim') ORDER BY expires_at",
        # A code that expires later than that predates a clock that was set back.
        (kind.value, now, now + CODE_SECONDS),
    )
    match: _Code | None = None
    counted: list[_Code] = []
    for stored in codes:
        prefix, salt, digest = stored.digest.split(":")
        # Compare every row in constant time, so that the duration reveals nothing.
        if hmac.compare_digest(digest, _digest(salt, code)):
            match = stored
        if kind is CodeKind.CLAIM or prefix == code[:_PREFIX]:
            counted.append(stored)
    if match is not None:
        await tx.execute_fetchall("UPDATE codes SET used_at = ? WHERE id = ?", (now, match.id))
        return RedeemedCode(found=True, account_id=match.account_id)
    for stored in counted:
        await tx.execute_fetchall("UPDATE codes SET tries_left = max(0, tries_left - 1) WHERE id = ?", (stored.id,))
    tries_left = max((stored.tries_left - 1 for stored in counted if stored.tries_left), default=0)
    return RedeemedCode(found=False, tries_left=tries_left, live=bool(counted))


async def is_guessed_often(tx: aiosqlite.Connection, now: float) -> bool:
    """Return whether there were so many wrong claim codes that each person has one try."""
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
"""A person may type this many wrong codes in this many seconds."""


async def attempts_left(tx: aiosqlite.Connection, account_id: int, now: float) -> tuple[int, float]:
    """Return how many tries an account has left, and the seconds until it has all of them again."""
    rows = await tx.execute_fetchall("SELECT count, since FROM guesses WHERE account_id = ?", (account_id,))
    for count, since in rows:
        # A time in the future predates a clock that was set back.
        if since <= now < since + ATTEMPTS_SECONDS:
            return max(0, ATTEMPTS - count), since + ATTEMPTS_SECONDS - now
    return ATTEMPTS, 0.0


async def count_wrong_code(tx: aiosqlite.Connection, account_id: int, now: float) -> int:
    """Count a wrong code; returns how many tries are left. The time starts at the first wrong code."""
    await tx.execute_fetchall(
        "INSERT INTO guesses (account_id, count, since) VALUES (?, 1, ?) ON CONFLICT (account_id) DO UPDATE SET"
        " count = CASE WHEN excluded.since >= since AND excluded.since < since + ? THEN count + 1 ELSE 1 END,"
        " since = CASE WHEN excluded.since >= since AND excluded.since < since + ? THEN since ELSE excluded.since END",
        (account_id, now, ATTEMPTS_SECONDS, ATTEMPTS_SECONDS),
    )
    return (await attempts_left(tx, account_id, now))[0]
