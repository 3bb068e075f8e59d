"""Takes out of the rows what a person asked for and what came of it; what was counted stays, as numbers."""

from __future__ import annotations

from dataclasses import dataclass

import aiosqlite

from bot.core.jobs import JobState
from bot.core.messages import MessageState
from bot.storage import messages


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


async def waiting(tx: aiosqlite.Connection, person_id: int) -> tuple[tuple[int, JobState], ...]:
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
