"""SQL of credits: grants and loans, and what was spent of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bot.core.quotas import Credit, CreditKind
from bot.quotas.rules.limits import UsageKey
from bot.storage.database import Tx
from bot.storage.sql import RowMapper


@dataclass(frozen=True, slots=True)
class Grant:
    """Credits that were given or lent.

    Attributes:
        person_id: To whom.
        place_id: Where they may be spent; None: everywhere.
        kind: Given or lent.
        pictures: How many.
        by_owner: Given by an owner: they lift the owner's rule too.
        expires_at: Unix seconds; unspent credits are gone then.
    """

    person_id: int
    place_id: int | None
    kind: CreditKind
    pictures: int
    by_owner: bool
    expires_at: float


_GRANTS = RowMapper(Grant, "credits")
_CREDITS = RowMapper(
    Credit,
    "credits",
    columns={"left": "pictures - coalesce((SELECT sum(pictures) FROM credit_uses WHERE credit_id = credits.id), 0)"},
)


async def add_grant(tx: Tx, event: str, grant: Grant, *, given_by: str, now: float) -> None:
    """Store a grant. A revoked grant of the same event is restored as it was; an existing one stays as it is."""
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


async def grant_of_event(tx: Tx, event: str) -> Grant | None:
    """Return the grant of an event; None if there is none, or if it was revoked."""
    return await _GRANTS.select_one(tx, "WHERE event = ? AND revoked_at IS NULL", (event,))


async def was_granted(tx: Tx, event: str) -> bool:
    """Return whether an event has a grant, revoked or not."""
    return any(True for _ in await tx.execute_fetchall("SELECT 1 FROM credits WHERE event = ?", (event,)))


async def revoke_grant(tx: Tx, event: str, *, now: float) -> None:
    """Revoke a grant. Spent credits stay spent."""
    await tx.execute_fetchall("UPDATE credits SET revoked_at = ? WHERE event = ? AND revoked_at IS NULL", (now, event))


async def available_credits(tx: Tx, key: UsageKey, *, now: float) -> tuple[Credit, ...]:
    """Return the unspent credits of a person in a place, the first to expire first."""
    found = await _CREDITS.select(
        tx,
        "WHERE person_id = ? AND expires_at > ? AND revoked_at IS NULL"
        " AND (place_id = ? OR (place_id IS NULL AND by_owner)) ORDER BY expires_at, id",
        (key.person_id, now, key.place_id),
    )
    return tuple(credit for credit in found if credit.left > 0)


async def spend_credits(
    tx: Tx, credits_: Sequence[Credit], job_id: int, pictures: int, *, by_owner: bool, now: float
) -> None:
    """Pay for a job's pictures with an owner's credits or the place's own, the first to expire first.

    Args:
        tx: A writing transaction.
        credits_: The ``available_credits`` in this transaction.
        job_id: The job.
        pictures: How many to pay for.
        by_owner: With an owner's credits.
        now: Unix seconds.

    Raises:
        ValueError: There are fewer credits than pictures.
    """
    for credit in credits_:
        if credit.by_owner is by_owner and pictures:
            part = min(pictures, credit.left)
            await _add_credit_use(tx, credit.id, job_id, "spend", part, now=now)
            pictures -= part
    if pictures:
        raise ValueError(f"{pictures} credits are missing for job {job_id}")


async def return_credits(tx: Tx, job_id: int, pictures: int, *, by_owner: bool, now: float) -> None:
    """Return some of a job's credits, the last to expire first. Credits that expired meanwhile are lost."""
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
            await _add_credit_use(tx, credit_id, job_id, "return", -part, now=now)
            pictures -= part


async def _add_credit_use(tx: Tx, credit_id: int, job_id: int, kind: str, pictures: int, *, now: float) -> None:
    await tx.execute_fetchall(
        "INSERT INTO credit_uses (credit_id, job_id, kind, pictures, written_at) VALUES (?, ?, ?, ?, ?)",
        (credit_id, job_id, kind, pictures, now),
    )
