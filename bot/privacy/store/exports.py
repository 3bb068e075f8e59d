"""Exports: who asked for one, what goes into it, and where its files lie until they are swept."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import aiosqlite

from bot.core.messages import Address
from bot.storage import data_files, inputs
from bot.storage.codec import dump_address, load_address
from bot.storage.sql import Converter, RowMapper

FOLDER = data_files.EXPORTS
"""Where they lie in the data folder."""

KEPT_SECONDS = 86400.0
"""How long files and links are good for."""

_FETCHED_SECONDS = 3600.0
"""How long somebody may take to fetch a file."""


def _load_address(text: str) -> Address | None:
    return load_address(text) if text else None


def _dump_address(address: Address | None) -> str:
    return "" if address is None else dump_address(address)


@dataclass(frozen=True, slots=True)
class Export:
    """One asking for one's own data.

    Attributes:
        id: Its number.
        person_id: Whose data.
        ready: Its files are there.
        address: Where they are sent; None where they are fetched by a link.
        locale: The person's language.
        asked_at: Unix seconds.
        used: The link was used.
    """

    id: int
    person_id: int
    ready: bool
    address: Address | None
    locale: str
    asked_at: float
    used: bool


_EXPORTS = RowMapper(
    Export,
    "exports",
    columns={"ready": "state = 'ready'", "used": "used_at IS NOT NULL"},
    converters={"address": Converter(_load_address, _dump_address)},
)


@dataclass(frozen=True, slots=True)
class ExportFile:
    """A file that goes into an export: a name that is safe anywhere, and where it is relative to the data folder."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class ExportBatch:
    """Some of a person's jobs, as JSON can hold them, with the files that belong to them."""

    jobs: tuple[dict[str, object], ...]
    files: tuple[ExportFile, ...]
    last_id: int


async def add(
    tx: aiosqlite.Connection, person_id: int, *, address: Address | None, digest: str, locale: str, now: float
) -> int:
    """Ask for an export: sent to ``address``, or fetched by the link whose digest is given. Returns its number."""
    rows = await tx.execute_fetchall(
        "INSERT INTO exports (person_id, state, address, digest, locale, asked_at) VALUES (?, 'wanted', ?, ?, ?, ?)"
        " RETURNING id",
        (person_id, _dump_address(address), digest, locale, now),
    )
    return int(next(iter(rows))[0])


async def latest(tx: aiosqlite.Connection, person_id: int) -> Export | None:
    """Return the last one that a person asked for, while it is kept."""
    return await _EXPORTS.select_one(tx, "WHERE person_id = ? ORDER BY id DESC LIMIT 1", (person_id,))


async def pending(tx: aiosqlite.Connection) -> tuple[Export, ...]:
    """Return those that are still to be made, oldest first."""
    return await _EXPORTS.select(tx, "WHERE state = 'wanted' ORDER BY id")


async def by_digest(tx: aiosqlite.Connection, digest: str) -> Export | None:
    """Return the export behind a link."""
    return await _EXPORTS.select_one(tx, "WHERE digest = ? AND digest <> ''", (digest,))


async def mark_ready(tx: aiosqlite.Connection, export_id: int) -> bool:
    """Its files are there. Returns whether it is still wanted: its person may have been forgotten meanwhile."""
    cursor = await tx.execute("UPDATE exports SET state = 'ready' WHERE id = ? AND state = 'wanted'", (export_id,))
    return cursor.rowcount == 1


async def mark_used(tx: aiosqlite.Connection, export_id: int, *, now: float) -> bool:
    """Use its link; returns whether this call did (it works once)."""
    cursor = await tx.execute("UPDATE exports SET used_at = ? WHERE id = ? AND used_at IS NULL", (now, export_id))
    return cursor.rowcount == 1


async def drop(tx: aiosqlite.Connection, export_id: int) -> None:
    """It could not be made: its person may ask again at once."""
    await tx.execute_fetchall("DELETE FROM exports WHERE id = ?", (export_id,))


async def expire(tx: aiosqlite.Connection, *, now: float) -> None:
    """Take those out of the rows that are older than a day."""
    await tx.execute_fetchall(
        # Those of the future were asked for before the clock was set back.
        "DELETE FROM exports WHERE asked_at < ? OR asked_at > ?",
        (now - KEPT_SECONDS, now + KEPT_SECONDS),
    )


async def kept_ids(tx: aiosqlite.Connection, *, now: float) -> frozenset[int]:
    """Return the numbers of those whose files are kept: not when their link was used over an hour ago."""
    rows = await tx.execute_fetchall(
        "SELECT id FROM exports WHERE state = 'ready' AND coalesce(used_at, ?) >= ?", (now, now - _FETCHED_SECONDS)
    )
    return frozenset(row[0] for row in rows)


async def person(tx: aiosqlite.Connection, person_id: int) -> dict[str, object]:
    """Return who somebody is to this Easel: accounts, credits and favourites, as JSON can hold them."""
    return {
        "person": (await _dicts(tx, "SELECT name, created_at FROM people WHERE id = ?", person_id))[0],
        "accounts": await _dicts(
            tx, "SELECT platform, user_id, name, created_at FROM accounts WHERE person_id = ? ORDER BY id", person_id
        ),
        "credits": await _dicts(
            tx,
            "SELECT kind, pictures, given_at, expires_at, revoked_at FROM credits WHERE person_id = ? ORDER BY id",
            person_id,
        ),
        "favourites": await _dicts(
            tx,
            'SELECT f.job_id, p."index", f.at FROM favourites f JOIN pictures p ON p.id = f.picture_id'
            " WHERE f.person_id = ? ORDER BY f.at",
            person_id,
        ),
    }


async def batch(tx: aiosqlite.Connection, person_id: int, pictures: str, *, after: int, limit: int) -> ExportBatch:
    """Return a person's next jobs with their pictures, ledger lines and credits spent; ``last_id`` 0 when there are none.

    Args:
        tx: A transaction.
        person_id: Whose.
        pictures: Name of the pictures folder.
        after: Only jobs with a larger number.
        limit: At most so many.
    """
    found = await _dicts(
        tx,
        "SELECT j.id, j.state, j.created_at, j.started_at, j.ended_at, j.typed, j.prompt, j.negative, j.style, j.width,"
        " j.height, j.steps, j.guidance, j.seed, j.count, j.model, j.strength, j.variation, j.variation_seed, j.upscale,"
        " j.private, j.locale, j.asker, j.error, j.seconds, j.parent_id, j.image, j.mask, a.platform, p.name AS place"
        " FROM jobs j JOIN accounts a ON a.id = j.account_id LEFT JOIN places p ON p.id = j.place_id"
        " WHERE j.person_id = ? AND j.id > ? AND NOT j.forgotten ORDER BY j.id LIMIT ?",
        person_id,
        after,
        limit,
    )
    files: list[ExportFile] = []
    for job in found:
        job["pictures"] = await _dicts(
            tx,
            'SELECT "index", seed, width, height, bytes, seconds, created_at, precision, revision, path FROM pictures'
            ' WHERE job_id = ? ORDER BY "index"',
            job["id"],
        )
        job["ledger"] = await _dicts(
            tx,
            "SELECT kind, reserved, charged, counted_at, written_at FROM ledger WHERE job_id = ? ORDER BY id",
            job["id"],
        )
        job["credits"] = await _dicts(
            tx, "SELECT kind, pictures, written_at FROM credit_uses WHERE job_id = ? ORDER BY id", job["id"]
        )
        files += _files(job, pictures)
    return ExportBatch(tuple(found), tuple(files), int(str(found[-1]["id"])) if found else 0)


async def remove_files(pictures: Path, exports: Collection[int]) -> None:
    """Remove the files of these exports."""
    folder = inputs.data_folder(pictures) / FOLDER
    numbers = {str(number) for number in exports}

    def clear() -> None:
        files = data_files.list_files(folder, data_files.EXPORT_NAME)
        data_files.unlink([path for path, _ in files if path.name.partition("-")[0] in numbers])

    await asyncio.to_thread(clear)


async def sweep(pictures: Path, known: Collection[int]) -> int:
    """Remove the files of every export but these; returns how many. Only while none is made; other files stay."""
    folder = inputs.data_folder(pictures) / FOLDER

    def clear() -> int:
        kept = {str(number) for number in known}
        files = [path for path, _ in data_files.list_files(folder, data_files.EXPORT_NAME)]
        over = [path for path in files if path.suffix != ".zip" or path.name.partition("-")[0] not in kept]
        data_files.unlink(over)
        return len(over)

    return await asyncio.to_thread(clear)


def _files(job: dict[str, object], pictures: str) -> list[ExportFile]:
    """Take the files out of a job's row. What the job was given is its person's own only where no button made it."""
    files = []
    stored = job["pictures"]
    assert isinstance(stored, list)
    for picture in stored:
        path = picture.pop("path")
        picture["file"] = f"pictures/easel-{job['id']}-{picture['index'] + 1}.png"
        files.append(ExportFile(picture["file"], f"{pictures}/{path}"))
    given = [str(job.pop("image")), str(job.pop("mask"))]
    if job["parent_id"] is None:
        files += [ExportFile(n, n) for n in given if n.startswith(f"{inputs.FOLDER}/") and n != inputs.DELETED]
    return files


async def _dicts(tx: aiosqlite.Connection, sql: str, *values: object) -> list[dict[str, object]]:
    async with tx.execute(sql, values) as cursor:
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]
