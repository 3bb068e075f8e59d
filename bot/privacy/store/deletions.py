"""SQL of deletions that can be undone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from bot.core.jobs import Job
from bot.storage import jobs
from bot.storage.database import Tx
from bot.storage.sql import RowMapper


@dataclass(frozen=True, slots=True)
class Deletion:
    """A deletion that is not carried out yet.

    Attributes:
        id: Its row.
        event: The account and the key that its client chose.
        token: Lets its person undo it.
        due_at: When it is carried out, in Unix seconds.
    """

    id: int
    event: str
    token: str
    due_at: float


@dataclass(frozen=True, slots=True)
class _New:
    event: str
    token: str
    due_at: float


_DELETIONS = RowMapper(Deletion, "deletions")
_NEW = RowMapper(_New, "deletions")


async def add(tx: Tx, event: str, token: str, due_at: float, job_ids: Collection[int]) -> Deletion:
    """Store a deletion and hide its jobs."""
    rows = await _NEW.insert(tx, _New(event, token, due_at), f"RETURNING {_DELETIONS.columns}")
    deletion = _DELETIONS.read(next(iter(rows)))
    marks = ", ".join("?" * len(job_ids))
    await tx.execute_fetchall(
        f"UPDATE jobs SET deletion_id = ? WHERE id IN ({marks})",  # noqa: S608 - question marks
        (deletion.id, *job_ids),
    )
    return deletion


async def by_event(tx: Tx, event: str) -> Deletion | None:
    """Return the deletion of a request, or None."""
    return await _DELETIONS.select_one(tx, "WHERE event = ?", (event,))


async def by_token(tx: Tx, token: str) -> Deletion | None:
    """Return the deletion that this token undoes, or None."""
    return await _DELETIONS.select_one(tx, "WHERE token = ?", (token,))


async def next_due(tx: Tx) -> Deletion | None:
    """Return the deletion that is carried out next, or None."""
    return await _DELETIONS.select_one(tx, "ORDER BY due_at, id LIMIT 1")


async def jobs_of(tx: Tx, deletion: Deletion, *, limit: int) -> tuple[Job, ...]:
    """Return up to ``limit`` jobs of a deletion."""
    # The same words as in the partial index jobs_by_deletion: SQLite uses it only then.
    rows = await tx.execute_fetchall(
        "SELECT id FROM jobs WHERE deletion_id = ? AND deletion_id IS NOT NULL ORDER BY id LIMIT ?",
        (deletion.id, limit),
    )
    return await jobs.of_ids(tx, [int(row[0]) for row in rows])


async def release(tx: Tx, job_ids: Collection[int]) -> None:
    """Take jobs out of their deletion: they were deleted, or are shown again."""
    marks = ", ".join("?" * len(job_ids))
    await tx.execute_fetchall(
        f"UPDATE jobs SET deletion_id = NULL WHERE id IN ({marks})",  # noqa: S608 - question marks
        tuple(job_ids),
    )


async def remove(tx: Tx, deletion: Deletion) -> None:
    """Remove a deletion that has no jobs any more."""
    await tx.execute_fetchall("DELETE FROM deletions WHERE id = ?", (deletion.id,))
