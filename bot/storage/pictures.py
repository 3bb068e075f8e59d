"""Rows of stored pictures; their files are the business of ``blobs``."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

import aiosqlite

from bot.core.pictures import Picture
from bot.storage import paths as names

_COLUMNS = (
    'id, job_id, "index", seed, path, width, height, bytes, seconds, created_at, precision, revision, notes, device,'
    " setup, flag"
)


async def add(
    tx: aiosqlite.Connection,
    *,
    job_id: int,
    index: int,
    seed: int,
    path: str,
    width: int,
    height: int,
    size: int,
    seconds: float,
    now: float,
    precision: str = "",
    revision: str = "",
    notes: Sequence[str] = (),
    device: str = "",
    setup: str = "",
    flag: str = "",
) -> None:
    """Store a picture; the same picture of the same job again (drawn anew after a crash) replaces its row.

    Args:
        tx: A writing transaction.
        job_id: Whose picture.
        index: 0-based within the job.
        seed: What it was drawn from.
        path: Of its file, relative to the pictures folder.
        width: Pixels.
        height: Pixels.
        size: Bytes of the file.
        seconds: What the device took for it.
        now: Unix seconds.
        precision: Number format that it was drawn in.
        revision: Commit of the model's files.
        notes: Codes of what the person should know of it.
        device: The kind of device that drew it.
        setup: Short digest of how its model was put together.
        flag: What moderation says of it.
    """
    await tx.execute_fetchall(
        'INSERT INTO pictures (job_id, "index", seed, path, width, height, bytes, seconds, created_at,'
        " precision, revision, notes, device, setup, flag)"
        ' VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (job_id, "index") DO UPDATE SET'
        " path = excluded.path, width = excluded.width, height = excluded.height, bytes = excluded.bytes,"
        " seconds = excluded.seconds, precision = excluded.precision, revision = excluded.revision,"
        " notes = excluded.notes, device = excluded.device, setup = excluded.setup, flag = excluded.flag",
        (
            job_id,
            index,
            seed,
            path,
            width,
            height,
            size,
            seconds,
            now,
            precision,
            revision,
            json.dumps(list(notes)),
            device,
            setup,
            flag,
        ),
    )


async def put_flag(tx: aiosqlite.Connection, picture_id: int, flag: str) -> None:
    """Set what moderation says of a stored picture."""
    await tx.execute_fetchall("UPDATE pictures SET flag = ? WHERE id = ?", (flag, picture_id))


async def of_job(tx: aiosqlite.Connection, job_id: int) -> tuple[Picture, ...]:
    """Return the pictures of a job in their order."""
    return await _select(tx, 'WHERE job_id = ? ORDER BY "index"', (job_id,))


async def of_jobs(tx: aiosqlite.Connection, job_ids: Sequence[int]) -> dict[int, tuple[Picture, ...]]:
    """Return the pictures of several jobs, by job and in their order; a job without any has an empty tuple."""
    found: dict[int, tuple[Picture, ...]] = dict.fromkeys(job_ids, ())
    marks = ", ".join("?" * len(job_ids))
    for picture in await _select(tx, f'WHERE job_id IN ({marks}) ORDER BY job_id, "index"', job_ids):
        found[picture.job_id] += (picture,)
    return found


async def paths(tx: aiosqlite.Connection) -> frozenset[str]:
    """Return the paths of all pictures, so that files without a row can be found."""
    return frozenset(row[0] for row in await tx.execute_fetchall("SELECT path FROM pictures"))


async def _select(tx: aiosqlite.Connection, where: str, values: Sequence[int]) -> tuple[Picture, ...]:
    rows = await tx.execute_fetchall(f"SELECT {_COLUMNS} FROM pictures {where}", values)  # noqa: S608 - constants
    return tuple(_picture(row) for row in rows)


def _picture(row: sqlite3.Row) -> Picture:
    # A row out of a foreign backup may name any file of this machine; what is no path of Easel's is no file.
    path = row[4] if names.is_confined(row[4]) else names.NO_FILE
    return Picture(*(*row[:4], path, *row[5:12], tuple(json.loads(row[12])), *row[13:]))
