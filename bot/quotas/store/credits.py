"""Credits: pictures on top of the rules, given or lent until they expire, and what was spent of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import aiosqlite

from bot.core.quotas import Credit, CreditKind
from bot.quotas.rules import Asker
from bot.storage.sql import RowMapper


@dataclass(frozen=True, slots=True)
class PlacedUse:
    """What counts against the rules, and where: pictures of a job, or a loan that is due.

    Attributes:
        at: When it counts, in Unix seconds.
        owner: Pictures that count against the operator's rules.
        own: Pictures that count against the place's own rules.
        cost_each: Cost of one of them, in thousandths of a point.
        place_id: Place of the job; None in direct messages and on the page.
        channel: Its channel.
    """

    at: float
    owner: int
    own: int
    cost_each: int
    place_id: int | None
    channel: str


_DUE_USES = RowMapper(
    PlacedUse,
    columns={
        "at": "c.expires_at",
        "owner": "sum(u.pictures) * c.by_owner",
        "own": "sum(u.pictures)",
        "cost_each": "l.cost_each",
        "place_id": "l.place_id",
        "channel": "l.channel",
    },
)
_USES = "JOIN credit_uses u ON u.credit_id = c.id JOIN ledger l ON l.job_id = u.job_id AND l.kind = 'reserve'"
_EXPIRED = "c.expires_at > ?2 AND c.expires_at <= ?3 AND c.kind = 'borrowed' GROUP BY c.id, u.job_id HAVING own > 0"
DUE = (
    f"SELECT {_DUE_USES.columns} FROM credits c {_USES} WHERE c.person_id = ?1 AND {_EXPIRED}"  # noqa: S608 - constants
    # What was parted from this person had borrowed together with it.
    f" UNION ALL SELECT {_DUE_USES.columns} FROM carried_credits k"
    f" JOIN credits c ON c.id = k.credit_id {_USES} AND u.written_at <= k.until"
    f" WHERE k.person_id = ?1 AND c.person_id <> ?1 AND {_EXPIRED}"
)
"""SQL: what ?1 had borrowed that counts as drawn, from when it expired on: after ?2, and until ?3. Rows of PlacedUse."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Something that was given.

    Attributes:
        person_id: To whom.
        place_id: Where it may be spent; None: everywhere.
        kind: Given or lent.
        pictures: How many.
        by_owner: By an owner: it lifts the owner's rule too.
        expires_at: Unix seconds; what is left then is gone.
    """

    person_id: int
    place_id: int | None
    kind: CreditKind
    pictures: int
    by_owner: bool
    expires_at: float


_GRANTS = RowMapper(Grant, "credits")
_AVAILABLE = RowMapper(
    Credit,
    "credits",
    columns={
        "left": "pictures - coalesce((SELECT sum(pictures) FROM credit_uses WHERE credit_id = credits.id), 0)",
    },
)


async def give(tx: aiosqlite.Connection, event: str, grant: Grant, *, given_by: str, now: float) -> None:
    """Give; a grant of the same event that was revoked is there again as it was, one that is there is left alone."""
    await tx.execute_fetchall(
        "INSERT INTO credits (person_id, place_id, kind, pictures, by_owner, given_by, given_at, expires_at, event)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (event) DO UPDATE SET revoked_at = NULL",
        (
            grant.person_id,
            grant.place_id,
            grant.kind.value,
            grant.pictures,
            int(grant.by_owner),
            given_by,
            now,
            grant.expires_at,
            event,
        ),
    )


async def of_event(tx: aiosqlite.Connection, event: str) -> Grant | None:
    """Return what an event gave; None where it gave nothing, or what is left of it was taken back."""
    return await _GRANTS.select_one(tx, "WHERE event = ? AND revoked_at IS NULL", (event,))


async def was_given(tx: aiosqlite.Connection, event: str) -> bool:
    """Whether an event gave something, whatever became of it."""
    return any(True for _ in await tx.execute_fetchall("SELECT 1 FROM credits WHERE event = ?", (event,)))


async def revoke(tx: aiosqlite.Connection, event: str, *, now: float) -> None:
    """Take back what is left of a grant; what was spent of it stays spent."""
    await tx.execute_fetchall("UPDATE credits SET revoked_at = ? WHERE event = ? AND revoked_at IS NULL", (now, event))


async def available(tx: aiosqlite.Connection, asker: Asker, *, now: float) -> tuple[Credit, ...]:
    """Return what somebody may spend in a place, the first to expire first."""
    found = await _AVAILABLE.select(
        tx,
        "WHERE person_id = ? AND expires_at > ? AND revoked_at IS NULL"
        " AND (place_id = ? OR (place_id IS NULL AND by_owner)) ORDER BY expires_at, id",
        (asker.person_id, now, asker.place_id),
    )
    return tuple(credit for credit in found if credit.left > 0)


async def spend(
    tx: aiosqlite.Connection, credits_: Sequence[Credit], job_id: int, pictures: int, *, by_owner: bool, now: float
) -> None:
    """Pay for a job's pictures with an owner's credits or with the place's own, the first to expire first.

    Args:
        tx: A writing transaction.
        credits_: What is ``available`` in this transaction.
        job_id: Which job.
        pictures: How many.
        by_owner: With an owner's.
        now: Unix seconds.

    Raises:
        ValueError: There are not so many: whoever decides looks first.
    """
    for credit in credits_:
        if credit.by_owner is by_owner and pictures:
            part = min(pictures, credit.left)
            await _write(tx, credit.id, job_id, "spend", part, now=now)
            pictures -= part
    if pictures:
        raise ValueError(f"{pictures} credits are missing for job {job_id}")


async def give_back(tx: aiosqlite.Connection, job_id: int, pictures: int, *, by_owner: bool, now: float) -> None:
    """Give so many of a job's credits back, the last to expire first. What has expired meanwhile is gone by that."""
    if not pictures:
        return
    rows = await tx.execute_fetchall(
        "SELECT u.credit_id, u.pictures FROM credit_uses u JOIN credits c ON c.id = u.credit_id"
        " WHERE u.job_id = ? AND u.kind = 'spend' AND c.by_owner = ? ORDER BY c.expires_at DESC, c.id DESC",
        (job_id, int(by_owner)),
    )
    for credit_id, spent in rows:
        if pictures:
            part = min(pictures, spent)
            await _write(tx, credit_id, job_id, "return", -part, now=now)
            pictures -= part


async def _write(
    tx: aiosqlite.Connection, credit_id: int, job_id: int, kind: str, pictures: int, *, now: float
) -> None:
    await tx.execute_fetchall(
        "INSERT INTO credit_uses (credit_id, job_id, kind, pictures, written_at) VALUES (?, ?, ?, ?, ?)",
        (credit_id, job_id, kind, pictures, now),
    )
