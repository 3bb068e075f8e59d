"""Which pictures a person keeps as favourites: their own, and others' that were shown to them."""

from __future__ import annotations

from collections.abc import Sequence

import aiosqlite

from bot.core.pictures import Picture
from bot.history.model import Query

_NEWEST = 2**62
_LATEST = 1e18


async def keep(tx: aiosqlite.Connection, person_id: int, pictures: Sequence[Picture], *, now: float) -> None:
    """Keep these pictures; those that are kept already stay as they are."""
    for picture in pictures:
        await tx.execute_fetchall(
            "INSERT INTO favourites (person_id, job_id, picture_id, at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (person_id, picture.job_id, picture.id, now),
        )


async def drop(tx: aiosqlite.Connection, person_id: int, pictures: Sequence[Picture]) -> None:
    """Keep these pictures no longer."""
    for picture in pictures:
        await tx.execute_fetchall(
            "DELETE FROM favourites WHERE person_id = ? AND job_id = ? AND picture_id = ?",
            (person_id, picture.job_id, picture.id),
        )


async def kept(tx: aiosqlite.Connection, person_id: int, job_ids: Sequence[int]) -> frozenset[int]:
    """Return the ids of the pictures of these jobs that a person keeps."""
    marks = ", ".join("?" * len(job_ids))
    rows = await tx.execute_fetchall(
        f"SELECT picture_id FROM favourites WHERE person_id = ? AND job_id IN ({marks})",  # noqa: S608 - question marks
        (person_id, *job_ids),
    )
    return frozenset(row[0] for row in rows)


async def is_kept(tx: aiosqlite.Connection, person_id: int, job_id: int) -> bool:
    """Whether a person keeps any picture of a job."""
    return bool(await kept(tx, person_id, [job_id]))


async def by_their_own(tx: aiosqlite.Connection, job_ids: Sequence[int]) -> frozenset[int]:
    """Return which of these jobs have a picture that whoever asked for it keeps."""
    marks = ", ".join("?" * len(job_ids))
    rows = await tx.execute_fetchall(
        "SELECT j.id FROM jobs j JOIN favourites f ON f.person_id = j.person_id AND f.job_id = j.id"  # noqa: S608 - question marks
        f" WHERE j.id IN ({marks})",
        job_ids,
    )
    return frozenset(row[0] for row in rows)


async def page(
    tx: aiosqlite.Connection, person_id: int, query: Query, *, limit: int, before: int | None = None
) -> tuple[int, ...]:
    """Return the ids of the jobs that a person keeps pictures of, newest first; of ``query``, its days alone count."""
    rows = await tx.execute_fetchall(
        "SELECT DISTINCT f.job_id FROM favourites f JOIN jobs j ON j.id = f.job_id"
        " WHERE f.person_id = ? AND f.job_id < ? AND j.created_at >= ? AND j.created_at < ?"
        " ORDER BY f.job_id DESC LIMIT ?",
        (
            person_id,
            _NEWEST if before is None else before,
            0.0 if query.since is None else query.since,
            _LATEST if query.until is None else query.until,
            limit,
        ),
    )
    return tuple(row[0] for row in rows)
