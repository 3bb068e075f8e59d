"""SQL that deletes: everything of a person's, and pictures that are older than a place keeps them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import aiosqlite

from bot.core.jobs import JobState
from bot.core.messages import MessageState
from bot.storage import inputs, messages
from bot.storage.sql import RowMapper


@dataclass(frozen=True, slots=True)
class Losses:
    """What forgetting takes away: how many of each."""

    jobs: int
    waiting: int
    pictures: int
    favourites: int


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What is left to do once the rows are gone.

    Attributes:
        pictures: Files in the pictures folder.
        inputs: Files that the jobs started from, relative to the data folder; other jobs may name them too.
        exports: Numbers of exports whose files are to go.
        jobs: Jobs that something still shows.
    """

    pictures: tuple[str, ...]
    inputs: tuple[str, ...]
    exports: tuple[int, ...]
    jobs: tuple[int, ...]


_COUNTS = (
    "SELECT count(*) FROM jobs WHERE person_id = ? AND NOT forgotten",
    "SELECT count(*) FROM jobs WHERE person_id = ? AND state IN ('held', 'queued', 'running')",
    "SELECT count(*) FROM pictures WHERE job_id IN (SELECT id FROM jobs WHERE person_id = ?)",
    "SELECT count(*) FROM favourites WHERE person_id = ?",
)
_PATHS = "SELECT path FROM pictures WHERE job_id IN (SELECT id FROM jobs WHERE person_id = ?)"
_SHOWN = (
    "SELECT DISTINCT job_id FROM messages WHERE unwanted = 1 AND job_id IN (SELECT id FROM jobs WHERE person_id = ?)"
)
_NO_FAVOURITES = "DELETE FROM favourites WHERE person_id = ?"
# Its trigger takes the words that jobs are found by.
_NO_PICTURES = "DELETE FROM pictures WHERE job_id IN (SELECT id FROM jobs WHERE person_id = ?)"
_NO_SEARCHES = "DELETE FROM searches WHERE account_id IN (SELECT id FROM accounts WHERE person_id = ?)"
_NO_EXPORTS = "DELETE FROM exports WHERE person_id = ?"
_NO_PROMPTS = (
    "UPDATE jobs SET prompt = '', typed = '', negative = '', asker = '', notes = '[]', roles = '[]', style = '', image = '',"
    " mask = '', seed = 0, variation_seed = 0, forgotten = 1 WHERE person_id = ? AND NOT forgotten"
)
_NO_MESSAGES = (
    "UPDATE messages SET unwanted = 1, card = CASE kind WHEN 'notice' THEN '' ELSE card END"
    " WHERE job_id IN (SELECT id FROM jobs WHERE person_id = ?)"
    " AND state IN ('opening', 'wanted', 'sending', 'shown')"
)
# What a place's log was told of refusals: the posted message is the admins', the copy here is not kept.
_NO_REFUSALS = (
    "UPDATE messages SET card = '', state = CASE state WHEN 'wanted' THEN 'gone' ELSE state END WHERE id IN"
    " (SELECT messages.id FROM accounts JOIN messages ON messages.event >= 'refused:' || accounts.id || ':'"
    " AND messages.event < 'refused:' || accounts.id || ';' WHERE accounts.person_id = ?)"
)
_NOBODY = "UPDATE people SET name = '' WHERE id = ?"
_NO_NEWCOMER = (
    "UPDATE access SET name = '' WHERE kind = 'person'"
    " AND (platform, subject) IN (SELECT platform, user_id FROM accounts WHERE person_id = ?)"
)
_NO_NAMES = "UPDATE accounts SET name = '', handle = '' WHERE person_id = ?"
_ALL = (
    _NO_FAVOURITES,
    _NO_PICTURES,
    _NO_SEARCHES,
    _NO_EXPORTS,
    _NO_PROMPTS,
    _NO_MESSAGES,
    _NO_REFUSALS,
    _NOBODY,
    _NO_NEWCOMER,
    _NO_NAMES,
)


async def losses(tx: aiosqlite.Connection, person_id: int) -> Losses:
    """Return what a person would lose."""
    counts = [next(iter(await tx.execute_fetchall(sql, (person_id,))))[0] for sql in _COUNTS]
    return Losses(*counts)


async def open_jobs(tx: aiosqlite.Connection, person_id: int) -> tuple[tuple[int, JobState], ...]:
    """Return a person's jobs that can still be stopped, with their states."""
    rows = await tx.execute_fetchall(
        "SELECT id, state FROM jobs WHERE person_id = ? AND state IN ('held', 'queued', 'running') ORDER BY id",
        (person_id,),
    )
    return tuple((row[0], JobState(row[1])) for row in rows)


async def forget(tx: aiosqlite.Connection, person_id: int) -> Forgotten:
    """Empty everything of a person's that says what they drew, and who they are; jobs that can be stopped must be.

    The ledger, the credits and how many jobs there were stay. Doing it again changes nothing.
    """
    paths = await _column(tx, _PATHS, person_id)
    named = await tx.execute_fetchall(
        "SELECT DISTINCT image, mask FROM jobs WHERE person_id = ? AND image <> ''", (person_id,)
    )
    exports = await tx.execute_fetchall("SELECT id FROM exports WHERE person_id = ?", (person_id,))
    for statement in _ALL:
        await tx.execute_fetchall(statement, (person_id,))
    await _unsaid(tx, person_id)
    shown = await _column(tx, _SHOWN, person_id)
    return Forgotten(
        tuple(str(path) for path in paths),
        tuple(dict.fromkeys(name for row in named for name in row if name)),
        tuple(row[0] for row in exports),
        tuple(int(str(job)) for job in shown),
    )


async def _unsaid(tx: aiosqlite.Connection, person_id: int) -> None:
    """Notices to the person that wait to be sent (a page of the history, say) are not sent."""
    rows = await tx.execute_fetchall("SELECT platform, user_id FROM accounts WHERE person_id = ?", (person_id,))
    accounts = {(row[0], row[1]) for row in rows}
    for message in await messages.wanted(tx):
        if message.job_id is None and (message.address.platform, message.address.user) in accounts:
            await messages.move(tx, message.id, MessageState.WANTED, MessageState.GONE)


async def _column(tx: aiosqlite.Connection, sql: str, person_id: int) -> tuple[object, ...]:
    return tuple(row[0] for row in await tx.execute_fetchall(sql, (person_id,)))


@dataclass(frozen=True, slots=True)
class OldPicture:
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
    OldPicture, columns={"created_at": "p.created_at", "id": "p.id", "job_id": "p.job_id", "place_id": "j.place_id"}
)


@dataclass(frozen=True, slots=True)
class DeletedFiles:
    """What left the rows, as files: in the pictures folder, and what jobs were given (relative to the data folder)."""

    pictures: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()


async def old_pictures(
    tx: aiosqlite.Connection, *, before: float, limit: int, after: tuple[float, int] = (0.0, 0)
) -> tuple[OldPicture, ...]:
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


async def delete_pictures(tx: aiosqlite.Connection, folder: str, job_ids: Collection[int]) -> DeletedFiles:
    """Take the pictures of these jobs out of the rows.

    Left alone are jobs that somebody has made a favourite of meanwhile, and pictures that an open job starts from. What
    a job itself was given to start from is not kept longer than its pictures.

    Args:
        tx: A writing transaction.
        folder: Name of the pictures folder.
        job_ids: Which.
    """
    if not job_ids:
        return DeletedFiles()
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
            (inputs.DELETED, job_id, f"{inputs.FOLDER}/%"),
        )
    own = {name: None for name in given if name.startswith(f"{inputs.FOLDER}/") and name != inputs.DELETED}
    return DeletedFiles(tuple(path for job_id, path in rows if job_id not in busy), tuple(own))


async def retention_days(tx: aiosqlite.Connection) -> dict[int, float]:
    """Return for how many days pictures are kept, by place (0 is everywhere); places without a rule are missing."""
    rows = await tx.execute_fetchall("SELECT place_id, value FROM options WHERE name = 'keep_days'")
    return {row[0]: float(row[1]) for row in rows}


async def count_pictures(tx: aiosqlite.Connection) -> int:
    """Return how many pictures there are."""
    return int(next(iter(await tx.execute_fetchall("SELECT count(*) FROM pictures")))[0])
