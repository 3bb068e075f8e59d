"""The ledger: what is reserved, charged and refunded for each job, and what of it counts in a window."""

from __future__ import annotations

import aiosqlite

from bot.policy.quotas import Use


async def reserve(
    tx: aiosqlite.Connection, *, job_id: int, person_id: int, place_id: int | None, pictures: int, now: float
) -> None:
    """Count a job's pictures from now on. Raises sqlite3.IntegrityError when the job has a reservation already."""
    await tx.execute_fetchall(
        "INSERT INTO ledger (job_id, person_id, place_id, kind, reserved, charged, counted_at, written_at)"
        " VALUES (?, ?, ?, 'reserve', ?, 0, ?, ?)",
        (job_id, person_id, place_id, pictures, now, now),
    )


async def settle(tx: aiosqlite.Connection, job_id: int, *, painted: int, now: float) -> None:
    """End a job's reservation: charge what was painted and refund the rest. Doing it again changes nothing.

    Args:
        tx: A writing transaction; the one that moves the job to PAINTED, CANCELLED or FAILED.
        job_id: Which job; one without a reservation is left alone.
        painted: How many pictures it has; at most as many as were reserved.
        now: Unix seconds.
    """
    # What is settled counts from when it was reserved, so a slow queue takes nobody's quota for longer.
    # A settled job has a charge or a refund already: it is found once only.
    rows = await tx.execute_fetchall(
        "SELECT person_id, place_id, reserved, counted_at FROM ledger r WHERE job_id = ? AND kind = 'reserve'"
        " AND NOT EXISTS (SELECT 1 FROM ledger s WHERE s.job_id = r.job_id AND s.kind <> 'reserve')",
        (job_id,),
    )
    for person_id, place_id, reserved, counted_at in rows:
        if not 0 <= painted <= reserved:
            raise ValueError(f"job {job_id} has {painted} pictures, but {reserved} were reserved")
        lines = (("charge", -painted, painted), ("refund", painted - reserved, 0))
        for kind, change, charged in lines:
            if change:
                await tx.execute_fetchall(
                    "INSERT INTO ledger (job_id, person_id, place_id, kind, reserved, charged, counted_at, written_at)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (job_id, person_id, place_id, kind, change, charged, counted_at, now),
                )


async def refund(tx: aiosqlite.Connection, job_id: int, *, now: float) -> None:
    """Give all of a job's reservation back: it was cancelled or has failed. Doing it again changes nothing."""
    await settle(tx, job_id, painted=0, now=now)


async def uses(tx: aiosqlite.Connection, person_id: int, *, since: float, place_id: int | None) -> tuple[Use, ...]:
    """Return what counts against a person's quotas, oldest first: one use for each job that has not given all back.

    Args:
        tx: A transaction.
        person_id: Whose.
        since: Only what was asked for after this moment (Unix seconds).
        place_id: The place that is decided about, whose uses are marked; None for none.
    """
    rows = await tx.execute_fetchall(
        "SELECT counted_at, sum(reserved + charged) AS n, place_id = ? FROM ledger"
        " WHERE person_id = ? AND counted_at > ? GROUP BY counted_at, job_id HAVING n > 0 ORDER BY counted_at",
        (place_id, person_id, since),
    )
    return tuple(Use(at=row[0], pictures=row[1], here=bool(row[2])) for row in rows)
