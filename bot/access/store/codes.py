"""Short codes that are typed once, within ten minutes: to claim the bot, to join two accounts."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from enum import StrEnum

import aiosqlite

SECONDS = 600.0
"""How long a code lives."""

TRIES = 5
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
class Redeemed:
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


async def create(tx: aiosqlite.Connection, kind: CodeKind, account_id: int | None, now: float) -> str:
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
    tries = CLAIM_TRIES if kind is CodeKind.CLAIM else TRIES
    await tx.execute_fetchall(
        "INSERT INTO codes (kind, digest, account_id, expires_at, tries_left) VALUES (?, ?, ?, ?, ?)",
        (kind.value, f"{code[:_FIRST]}:{salt}:{_digest(salt, code)}", account_id, now + SECONDS, tries),
    )
    return f"{code[: _LENGTH // 2]}-{code[_LENGTH // 2 :]}"


async def redeem(tx: aiosqlite.Connection, kind: CodeKind, typed: str, now: float) -> Redeemed:
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
    rows = await tx.execute_fetchall(
        "SELECT id, digest, account_id, tries_left FROM codes"
        " WHERE kind = ? AND expires_at > ? AND expires_at <= ? AND used_at IS NULL"
        " AND (tries_left > 0 OR kind = 'claim') ORDER BY expires_at",
        # One that would live for longer was made before the clock was set back.
        (kind.value, now, now + SECONDS),
    )
    right: tuple[int, int | None] | None = None
    meant: list[tuple[int, int]] = []
    for row_id, stored, account_id, left in rows:
        first, salt, digest = str(stored).split(":")
        # Every row is compared, and each in constant time: how long it takes says nothing.
        if hmac.compare_digest(digest, _digest(salt, code)):
            right = row_id, account_id
        if kind is CodeKind.CLAIM or first == code[:_FIRST]:
            meant.append((row_id, left))
    if right is not None:
        await tx.execute_fetchall("UPDATE codes SET used_at = ? WHERE id = ?", (now, right[0]))
        return Redeemed(found=True, account_id=right[1])
    for row_id, _ in meant:
        await tx.execute_fetchall("UPDATE codes SET tries_left = max(0, tries_left - 1) WHERE id = ?", (row_id,))
    return Redeemed(found=False, tries_left=max((left - 1 for _, left in meant if left), default=0), live=bool(meant))


async def is_guessed_much(tx: aiosqlite.Connection, now: float) -> bool:
    """Whether the number of wrong claim codes leaves each person one try."""
    rows = await tx.execute_fetchall(
        "SELECT 1 FROM codes WHERE kind = 'claim' AND expires_at > ? AND expires_at <= ? AND used_at IS NULL"
        " AND tries_left = 0",
        (now, now + SECONDS),
    )
    return any(True for _ in rows)


def _digest(salt: str, code: str) -> str:
    return hashlib.sha256(f"{salt}:{code}".encode()).hexdigest()
