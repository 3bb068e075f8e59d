"""Pictures that are old enough to be swept, and taking them out of the rows; their files are removed after the commit."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import aiosqlite

from bot.storage import inputs
from bot.storage.sql import RowMapper


@dataclass(frozen=True, slots=True)
class Old:
    """A picture that may be swept.

    Attributes:
        created_at: Unix seconds.
        id: Its number.
        job_id: Its job.
        place_id: Where that was asked for; None in direct messages and on the page.
    """

    created_at: float
    id: int
    job_id: int
    place_id: int | None


_OLD = RowMapper(
    Old, columns={"created_at": "p.created_at", "id": "p.id", "job_id": "p.job_id", "place_id": "j.place_id"}
)


@dataclass(frozen=True, slots=True)
class Unkept:
    """What left the rows, as files: in the pictures folder, and what jobs were given (relative to the data folder)."""

    pictures: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()


async def oldest(
    tx: aiosqlite.Connection, *, before: float, limit: int, after: tuple[float, int] = (0.0, 0)
) -> tuple[Old, ...]:
    """Return pictures of delivered jobs, oldest first; jobs with a favourite are left out whole.

    Args:
        tx: A transaction.
        before: Only pictures that are older than this moment (Unix seconds).
        limit: At most so many.
        after: Only those behind this one (when it was made, and its number).
    """
    # Cross join: by the pictures' age, whatever SQLite thinks of the tables' sizes.
    return await _OLD.fetch(
        tx,
        f"SELECT {_OLD.columns} FROM pictures p CROSS JOIN jobs j ON j.id = p.job_id"  # noqa: S608 - constants
        " WHERE (p.created_at, p.id) > (?, ?) AND p.created_at < ? AND j.state = 'delivered'"
        " AND NOT EXISTS (SELECT 1 FROM favourites f WHERE f.job_id = p.job_id)"
        " ORDER BY p.created_at, p.id LIMIT ?",
        (*after, before, limit),
    )


async def unkeep(tx: aiosqlite.Connection, folder: str, job_ids: Collection[int]) -> Unkept:
    """Take the pictures of these jobs out of the rows.

    Left alone are jobs that somebody has made a favourite of meanwhile, and pictures that an open job starts from. What
    a job itself was given to start from is not kept longer than its pictures.

    Args:
        tx: A writing transaction.
        folder: Name of the pictures folder.
        job_ids: Which.
    """
    if not job_ids:
        return Unkept()
    # The same words as in the partial index jobs_open, so that it is used.
    open_ = await tx.execute_fetchall(
        "SELECT image FROM jobs WHERE state IN ('held', 'queued', 'running', 'painted') AND image <> ''"
    )
    needed = {row[0] for row in open_}
    marks = ", ".join("?" * len(job_ids))
    rows = await tx.execute_fetchall(
        f"SELECT job_id, path FROM pictures p WHERE job_id IN ({marks})"  # noqa: S608 - question marks
        " AND NOT EXISTS (SELECT 1 FROM favourites f WHERE f.job_id = p.job_id)",
        tuple(job_ids),
    )
    busy = {job_id for job_id, path in rows if f"{folder}/{path}" in needed}
    going = sorted({job_id for job_id, _ in rows} - busy)
    given: list[str] = []
    for job_id in going:
        await tx.execute_fetchall("DELETE FROM pictures WHERE job_id = ?", (job_id,))
        given += next(iter(await tx.execute_fetchall("SELECT image, mask FROM jobs WHERE id = ?", (job_id,))))
        await tx.execute_fetchall(
            "UPDATE jobs SET image = ?, mask = '' WHERE id = ? AND image LIKE ?",
            (inputs.UNKEPT, job_id, f"{inputs.FOLDER}/%"),
        )
    own = {name: None for name in given if name.startswith(f"{inputs.FOLDER}/") and name != inputs.UNKEPT}
    return Unkept(tuple(path for job_id, path in rows if job_id not in busy), tuple(own))


async def rules(tx: aiosqlite.Connection) -> dict[int, float]:
    """Return for how many days pictures are kept, by place (0 is everywhere); places without a rule are missing."""
    rows = await tx.execute_fetchall("SELECT place_id, value FROM options WHERE name = 'keep_days'")
    return {row[0]: float(row[1]) for row in rows}


async def count(tx: aiosqlite.Connection) -> int:
    """Return how many pictures there are."""
    return int(next(iter(await tx.execute_fetchall("SELECT count(*) FROM pictures")))[0])
