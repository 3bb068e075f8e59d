"""Waiting jobs that an owner moved to the front or to the back of the queue."""

from __future__ import annotations

from dataclasses import dataclass

from bot.storage.database import Tx
from bot.storage.sql import RowMapper


@dataclass(frozen=True, slots=True)
class QueueMove:
    """A job that was moved. ``last_id``: it begins after the jobs with an id up to this; None: before all others."""

    job_id: int
    last_id: int | None


_MOVES = RowMapper(QueueMove, "queue_moves")

# The same words as in the partial index jobs_open: SQLite uses it only then.
_WAITING = "(SELECT id FROM jobs WHERE state = 'queued' AND state IN ('held', 'queued', 'running', 'painted'))"


async def put(tx: Tx, move: QueueMove) -> None:
    """Store a move, which replaces an earlier one of the job. Moves of jobs that no longer wait are removed."""
    await tx.execute_fetchall(f"DELETE FROM queue_moves WHERE job_id NOT IN {_WAITING}")  # noqa: S608 - constants
    await tx.execute_fetchall("DELETE FROM queue_moves WHERE job_id = ?", (move.job_id,))
    await _MOVES.insert(tx, move)


async def of_waiting(tx: Tx) -> tuple[QueueMove, ...]:
    """Return the moves of jobs that wait, in the order in which they were made."""
    return await _MOVES.select(tx, f"WHERE job_id IN {_WAITING} ORDER BY number")
