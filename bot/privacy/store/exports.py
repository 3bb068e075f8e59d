"""Exports: their rows, their content, and the removal of their files."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic_core import to_jsonable_python

from bot.core.messages import Address
from bot.storage import data_files, inputs, jobs, pictures, preferences
from bot.storage.database import Tx
from bot.storage.sql import Column, Converter, RowMapper, dump_address, load_address

FOLDER = data_files.EXPORTS
"""Their folder, in the data folder."""

KEPT_SECONDS = 86400.0
"""How long files and links are valid."""

_FETCHED_SECONDS = 3600.0
"""How long a file is retained after its link was used, so that the download can end."""

INTERNAL_JOB_COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "person_id": "the person's row; person.json describes them",
        "account_id": "the account's row; the export has its platform",
        "place_id": "the place's row; the export has its name",
        "missed": "marks a job whose end is still to be announced",
        "forgotten": "jobs of which this is true are not exported",
    }
)
"""The columns of jobs that an export leaves out, with the reason."""

INTERNAL_PICTURE_COLUMNS: Mapping[str, str] = MappingProxyType(
    {"id": "the picture's row; the export names it by its job and index", "job_id": "the job that has the picture"}
)
"""The columns of pictures that an export leaves out, with the reason."""

_JOB_COLUMNS = tuple(column for name, column in jobs.COLUMNS.items() if name not in INTERNAL_JOB_COLUMNS)
_PICTURE_COLUMNS = tuple(column for name, column in pictures.COLUMNS.items() if name not in INTERNAL_PICTURE_COLUMNS)


def _load_address(text: str) -> Address | None:
    return load_address(text) if text else None


def _dump_address(address: Address | None) -> str:
    return "" if address is None else dump_address(address)


@dataclass(frozen=True, slots=True)
class Export:
    """A requested export of a person's data.

    Attributes:
        id: Its row.
        person_id: The person.
        ready: Whether its files exist.
        address: Where they are sent; None if they are fetched by a link.
        locale: The person's locale.
        asked_at: Unix seconds.
        used: Whether the link was used.
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
    """A file of an export: its portable name in the ZIP file, and its path relative to the data folder."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class ExportBatch:
    """Some jobs of a person, as JSON values, and their files."""

    jobs: tuple[dict[str, object], ...]
    files: tuple[ExportFile, ...]
    last_id: int


async def add(tx: Tx, person_id: int, *, address: Address | None, digest: str, locale: str, now: float) -> int:
    """Add an export; it is sent to ``address``, or fetched by the link of this digest. Returns its id."""
    rows = await tx.execute_fetchall(
        "INSERT INTO exports (person_id, state, address, digest, locale, asked_at) VALUES (?, 'wanted', ?, ?, ?, ?)"
        " RETURNING id",
        (person_id, _dump_address(address), digest, locale, now),
    )
    return int(next(iter(rows))[0])


async def latest(tx: Tx, person_id: int) -> Export | None:
    """Return the last export of a person, if it is still stored."""
    return await _EXPORTS.select_one(tx, "WHERE person_id = ? ORDER BY id DESC LIMIT 1", (person_id,))


async def pending(tx: Tx) -> tuple[Export, ...]:
    """Return the exports that are still to be made, oldest first."""
    return await _EXPORTS.select(tx, "WHERE state = 'wanted' ORDER BY id")


async def by_digest(tx: Tx, digest: str) -> Export | None:
    """Return the export of a link, or None."""
    return await _EXPORTS.select_one(tx, "WHERE digest = ? AND digest <> ''", (digest,))


async def mark_ready(tx: Tx, export_id: int) -> bool:
    """Record that the files of an export exist. Returns False if it was deleted meanwhile, with its person's data."""
    cursor = await tx.execute("UPDATE exports SET state = 'ready' WHERE id = ? AND state = 'wanted'", (export_id,))
    return cursor.rowcount == 1


async def mark_used(tx: Tx, export_id: int, *, now: float) -> bool:
    """Record that the link was used; return whether this call did (it works once)."""
    cursor = await tx.execute("UPDATE exports SET used_at = ? WHERE id = ? AND used_at IS NULL", (now, export_id))
    return cursor.rowcount == 1


async def drop(tx: Tx, export_id: int) -> None:
    """Delete an export that could not be made: the person may request another at once."""
    await tx.execute_fetchall("DELETE FROM exports WHERE id = ?", (export_id,))


async def expire(tx: Tx, *, now: float) -> None:
    """Delete the rows of expired exports."""
    await tx.execute_fetchall(
        # Requests in the future were made before the clock was set back.
        "DELETE FROM exports WHERE asked_at < ? OR asked_at > ?",
        (now - KEPT_SECONDS, now + KEPT_SECONDS),
    )


async def retained_ids(tx: Tx, *, now: float) -> frozenset[int]:
    """Return the ids of the exports whose files are retained: all but those whose link was used expired an hour ago."""
    rows = await tx.execute_fetchall(
        "SELECT id FROM exports WHERE state = 'ready' AND coalesce(used_at, ?) >= ?", (now, now - _FETCHED_SECONDS)
    )
    return frozenset(row[0] for row in rows)


async def person(tx: Tx, person_id: int) -> dict[str, object]:
    """Return a person's accounts, credits, preferences, favourites, and requests that are no jobs yet, as JSON values."""
    return {
        "person": (await _dicts(tx, "SELECT name, created_at FROM people WHERE id = ?", person_id))[0],
        "accounts": await _dicts(
            tx,
            "SELECT platform, user_id, name, handle, created_at FROM accounts WHERE person_id = ? ORDER BY id",
            person_id,
        ),
        "credits": await _dicts(
            tx,
            "SELECT kind, pictures, given_at, expires_at, revoked_at FROM credits WHERE person_id = ? ORDER BY id",
            person_id,
        ),
        "preferences": await preferences.of_person(tx, person_id),
        "shown_notes": await _dicts(
            tx, "SELECT note, shown_at FROM shown_notes WHERE person_id = ? ORDER BY note", person_id
        ),
        "favourites": await _dicts(
            tx,
            'SELECT f.job_id, p."index", f.at FROM favourites f JOIN pictures p ON p.id = f.picture_id'
            " WHERE f.person_id = ? ORDER BY f.at",
            person_id,
        ),
        # Without their digests, hashes and keys.
        "sessions": await _dicts(
            tx,
            "SELECT method, browser, created_at, used_at FROM sessions"
            " WHERE account_id IN (SELECT id FROM accounts WHERE person_id = ?) ORDER BY id",
            person_id,
        ),
        "passwords": await _dicts(
            tx,
            "SELECT login, changed_at FROM passwords"
            " WHERE account_id IN (SELECT id FROM accounts WHERE person_id = ?) ORDER BY account_id",
            person_id,
        ),
        "passkeys": await _dicts(
            tx,
            "SELECT name, host, created_at, used_at FROM passkeys"
            " WHERE account_id IN (SELECT id FROM accounts WHERE person_id = ?) ORDER BY id",
            person_id,
        ),
        "api_keys": await _dicts(
            tx,
            "SELECT name, prefix, created_at, used_at, revoked_at FROM api_keys"
            " WHERE account_id IN (SELECT id FROM accounts WHERE person_id = ?) ORDER BY id",
            person_id,
        ),
        "picture_requests": await _dicts(
            tx,
            "SELECT platform, json_extract(form, '$.prompt') AS prompt, created_at FROM picture_requests"
            " WHERE account_id IN (SELECT id FROM accounts WHERE person_id = ?) ORDER BY id",
            person_id,
        ),
        "prompt_drafts": await _dicts(
            tx,
            "SELECT json_extract(form, '$.prompt') AS prompt, text, created_at FROM prompt_drafts"
            " WHERE account_id IN (SELECT id FROM accounts WHERE person_id = ?) ORDER BY id",
            person_id,
        ),
    }


async def batch(tx: Tx, person_id: int, folder: str, *, after: int, limit: int) -> ExportBatch:
    """Return a person's next jobs with their pictures, ledger lines and spent credits; ``last_id`` is 0 at the end.

    Args:
        tx: A transaction.
        person_id: The person.
        folder: Name of the pictures folder.
        after: Only jobs with a larger id.
        limit: Number of jobs at most.
    """
    selected = ", ".join(column.selected("j") for column in _JOB_COLUMNS)
    rows = await _dicts(
        tx,
        f"SELECT {selected}, a.platform, p.name AS place"  # noqa: S608 - constants
        " FROM jobs j JOIN accounts a ON a.id = j.account_id LEFT JOIN places p ON p.id = j.place_id"
        " WHERE j.person_id = ? AND j.id > ? AND NOT j.forgotten ORDER BY j.id LIMIT ?",
        person_id,
        after,
        limit,
    )
    found = [_converted(row, _JOB_COLUMNS) for row in rows]
    selected = ", ".join(column.selected("") for column in _PICTURE_COLUMNS)
    files: list[ExportFile] = []
    for job in found:
        drawn = await _dicts(
            tx,
            f'SELECT {selected} FROM pictures WHERE job_id = ? ORDER BY "index"',  # noqa: S608 - constants
            job["id"],
        )
        job["pictures"] = [_converted(row, _PICTURE_COLUMNS) for row in drawn]
        job["ledger"] = await _dicts(
            tx,
            "SELECT kind, reserved, charged, cost_each, free, free_here, counted_at, written_at FROM ledger"
            " WHERE job_id = ? ORDER BY id",
            job["id"],
        )
        job["credits"] = await _dicts(
            tx, "SELECT kind, pictures, written_at FROM credit_uses WHERE job_id = ? ORDER BY id", job["id"]
        )
        files += _files(job, folder)
    return ExportBatch(tuple(found), tuple(files), int(str(found[-1]["id"])) if found else 0)


async def remove_files(pictures: Path, exports: Collection[int]) -> None:
    """Remove the files of these exports."""
    folder = inputs.data_folder(pictures) / FOLDER
    numbers = {str(number) for number in exports}

    def clear() -> None:
        files = data_files.list_files(folder, data_files.EXPORT_NAME)
        data_files.unlink([path for path, _ in files if path.name.partition("-")[0] in numbers])

    await asyncio.to_thread(clear)


async def sweep(pictures: Path, retained: Collection[int]) -> int:
    """Remove the files of all exports but these; return how many. Only while no export is being made."""
    folder = inputs.data_folder(pictures) / FOLDER

    def clear() -> int:
        numbers = {str(number) for number in retained}
        files = [path for path, _ in data_files.list_files(folder, data_files.EXPORT_NAME)]
        expired = [path for path in files if path.suffix != ".zip" or path.name.partition("-")[0] not in numbers]
        data_files.unlink(expired)
        return len(expired)

    return await asyncio.to_thread(clear)


def _files(job: dict[str, object], folder: str) -> list[ExportFile]:
    """Return the files of a job, and remove their paths from its row.

    Source files belong to the person only if the job was not made by a button of another job.
    """
    files = []
    stored = job["pictures"]
    assert isinstance(stored, list)
    for picture in stored:
        path = picture.pop("path")
        picture["file"] = f"pictures/easel-{job['id']}-{picture['index'] + 1}.png"
        files.append(ExportFile(picture["file"], f"{folder}/{path}"))
    references = job.pop("references")
    assert isinstance(references, list)
    sources = dict.fromkeys((str(job.pop("image")), str(job.pop("mask")), *references))
    if job["parent_id"] is None:
        files += [ExportFile(n, n) for n in sources if n.startswith(f"{inputs.FOLDER}/") and n != inputs.DELETED]
    return files


async def _dicts(tx: Tx, sql: str, *values: object) -> list[dict[str, object]]:
    async with tx.execute(sql, values) as cursor:
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]


def _converted(row: dict[str, Any], columns: Iterable[Column]) -> dict[str, object]:
    """Return a row with its columns' values as fields hold them, written in JSON: lists, objects and booleans."""
    read = {c.name: to_jsonable_python(c.converter.read(row[c.name])) for c in columns if c.converter}
    return row | read
