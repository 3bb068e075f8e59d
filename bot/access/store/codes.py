"""SQL of one-time codes: claims of ownership, links of accounts, and wrong attempts."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from enum import StrEnum

from bot.storage.database import Tx
from bot.storage.sql import RowMapper

CODE_SECONDS = 600.0
"""Lifetime of a code."""

CODE_TRIES = 5
"""Wrong codes with the same prefix that invalidate a link code."""

CLAIM_TRIES = 50
"""Wrong claim codes, of all people together, after which each person has one try. They never invalidate the code, since
anybody can type wrong ones."""

ATTEMPTS = 5

ATTEMPTS_SECONDS = 600.0
"""A person may type this many wrong codes in this many seconds."""

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


async def create_code(tx: Tx, kind: CodeKind, account_id: int | None, now: float) -> str:
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


async def redeem_code(tx: Tx, kind: CodeKind, typed: str, now: float) -> RedeemedCode:
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


async def is_guessed_often(tx: Tx, now: float) -> bool:
    """Return whether wrong claim codes have reached the limit above which each person has one try."""
    rows = await tx.execute_fetchall(
        "SELECT 1 FROM codes WHERE kind = 'claim' AND expires_at > ? AND expires_at <= ? AND used_at IS NULL"
        " AND tries_left = 0",
        (now, now + CODE_SECONDS),
    )
    return any(True for _ in rows)


def _digest(salt: str, code: str) -> str:
    return hashlib.sha256(f"{salt}:{code}".encode()).hexdigest()


async def attempts_left(tx: Tx, account_id: int, now: float) -> tuple[int, float]:
    """Return how many tries an account has left, and the seconds until it has all of them again."""
    rows = await tx.execute_fetchall("SELECT count, since FROM guesses WHERE account_id = ?", (account_id,))
    for count, since in rows:
        # A time in the future predates a clock that was set back.
        if since <= now < since + ATTEMPTS_SECONDS:
            return max(0, ATTEMPTS - count), since + ATTEMPTS_SECONDS - now
    return ATTEMPTS, 0.0


async def count_wrong_code(tx: Tx, account_id: int, now: float) -> int:
    """Count a wrong code; returns how many tries are left. The time starts at the first wrong code."""
    await tx.execute_fetchall(
        "INSERT INTO guesses (account_id, count, since) VALUES (?, 1, ?) ON CONFLICT (account_id) DO UPDATE SET"
        " count = CASE WHEN excluded.since >= since AND excluded.since < since + ? THEN count + 1 ELSE 1 END,"
        " since = CASE WHEN excluded.since >= since AND excluded.since < since + ? THEN since ELSE excluded.since END",
        (account_id, now, ATTEMPTS_SECONDS, ATTEMPTS_SECONDS),
    )
    return (await attempts_left(tx, account_id, now))[0]
