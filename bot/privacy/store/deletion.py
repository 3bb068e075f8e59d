"""SQL of deletion: of a person's data, of one job, and of pictures by age."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from bot.cards.i18n import text
from bot.core.cards import Card, Tone
from bot.core.jobs import JobState
from bot.core.messages import MessageState
from bot.storage import inputs, jobs, messages
from bot.storage.database import Transactions, Tx
from bot.storage.people import OF_PERSON
from bot.storage.sql import TUPLE, RowMapper, dump_card

_PATHS = "SELECT path FROM pictures WHERE job_id IN (SELECT id FROM jobs WHERE person_id = ?)"

_DIGESTS = "SELECT digest FROM pictures WHERE job_id IN (SELECT id FROM jobs WHERE person_id = ?)"

_SHOWN = (
    "SELECT DISTINCT job_id FROM messages WHERE unwanted = 1 AND job_id IN (SELECT id FROM jobs WHERE person_id = ?)"
)

_NEWEST = "SELECT id FROM jobs WHERE person_id = ? ORDER BY id DESC LIMIT 500"
"""The jobs that an open page may show."""

_NO_FAVOURITES = "DELETE FROM favourites WHERE person_id = ?"

# Its trigger deletes the jobs from the search index.
_NO_PICTURES = "DELETE FROM pictures WHERE job_id IN (SELECT id FROM jobs WHERE person_id = ?)"

_NO_SEARCHES = f"DELETE FROM searches WHERE {OF_PERSON}"  # noqa: S608 - a constant

# Requests that are no jobs yet.
_PICTURE_REQUESTS = f"picture_requests WHERE {OF_PERSON}"
# Those that other people have asked for from the person's jobs hold the person's words too.
_PROMPT_DRAFTS = (
    "prompt_drafts WHERE account_id IN (SELECT id FROM accounts WHERE person_id = ?1)"
    " OR job_id IN (SELECT id FROM jobs WHERE person_id = ?1)"
)
_PROMPT_DRAFTS_OF_JOB = "prompt_drafts WHERE job_id = ?"

_NO_PREFERENCES = "DELETE FROM person_options WHERE person_id = ?"

_NO_SHOWN_NOTES = "DELETE FROM shown_notes WHERE person_id = ?"

_NO_PICTURE_DRAFTS = f"DELETE FROM picture_drafts WHERE {OF_PERSON}"  # noqa: S608 - a constant

_NO_EXPORTS = "DELETE FROM exports WHERE person_id = ?"

_WITHOUT_CONTENT = (
    "UPDATE jobs SET prompt = '', typed = '', negative = '', asker = '', notes = '[]', roles = '[]', style = '', image = '',"
    " mask = '', seed = 0, variation_seed = 0, \"references\" = '[]', loras = '[]', forgotten = 1"
)

_NO_PROMPTS = f"{_WITHOUT_CONTENT} WHERE person_id = ? AND NOT forgotten"

_UNWANTED = (
    "UPDATE messages SET unwanted = 1, card = CASE kind WHEN 'notice' THEN '' ELSE card END"
    " WHERE state IN ('opening', 'wanted', 'sending', 'shown')"
)

_NO_MESSAGES = f"{_UNWANTED} AND job_id IN (SELECT id FROM jobs WHERE person_id = ?)"  # noqa: S608 - a constant

_JOB = (
    "DELETE FROM favourites WHERE job_id = ?",
    "DELETE FROM reports WHERE job_id = ?",
    # Its trigger deletes the job from the search index.
    "DELETE FROM pictures WHERE job_id = ?",
    f"{_WITHOUT_CONTENT} WHERE id = ?",
    f"{_UNWANTED} AND job_id = ?",
)

# Nobody signs in as the person any more, and no program draws as them.
_NO_SIGN_INS = tuple(
    f"DELETE FROM {table} WHERE {OF_PERSON}"  # noqa: S608 - constants
    for table in ("sessions", "sign_in_links", "passwords", "passkeys", "api_keys")
)

# Messages to log channels about the person's refusals: the sent message stays, the copy here is deleted.
_NO_REFUSALS = (
    "UPDATE messages SET card = '', state = CASE state WHEN 'wanted' THEN 'gone' ELSE state END WHERE id IN"
    " (SELECT messages.id FROM accounts JOIN messages ON messages.event >= 'refused:' || accounts.id || ':'"
    " AND messages.event < 'refused:' || accounts.id || ';' WHERE accounts.person_id = ?)"
)

# Reports of the person's pictures, and those that the person has made.
_NO_REPORTS = (
    "DELETE FROM reports WHERE job_id IN (SELECT id FROM jobs WHERE person_id = ?1)"
    " OR account_id IN (SELECT id FROM accounts WHERE person_id = ?1)"
)

_NO_NAME = "UPDATE people SET name = '' WHERE id = ?"

_NO_NEWCOMER = (
    "UPDATE access SET name = '' WHERE kind = 'person'"
    " AND (platform, subject) IN (SELECT platform, user_id FROM accounts WHERE person_id = ?)"
)

_NO_NAMES = "UPDATE accounts SET name = '', handle = '' WHERE person_id = ?"

_ALL = (
    _NO_FAVOURITES,
    _NO_PICTURES,
    _NO_SEARCHES,
    _NO_PICTURE_DRAFTS,
    _NO_EXPORTS,
    _NO_PREFERENCES,
    _NO_SHOWN_NOTES,
    _NO_PROMPTS,
    _NO_MESSAGES,
    _NO_REFUSALS,
    _NO_REPORTS,
    *_NO_SIGN_INS,
    _NO_NAME,
    _NO_NEWCOMER,
    _NO_NAMES,
)


@dataclass(frozen=True, slots=True)
class Losses:
    """Counts of what the deletion of a person's data removes."""

    jobs: int = 0
    waiting: int = 0
    pictures: int = 0
    favourites: int = 0


_LOSSES = RowMapper(
    Losses,
    "people",
    columns={
        "jobs": "(SELECT count(*) FROM jobs WHERE person_id = ?1 AND NOT forgotten)",
        "waiting": "(SELECT count(*) FROM jobs WHERE person_id = ?1 AND state IN ('held', 'queued', 'running'))",
        "pictures": "(SELECT count(*) FROM pictures WHERE job_id IN (SELECT id FROM jobs WHERE person_id = ?1))",
        "favourites": "(SELECT count(*) FROM favourites WHERE person_id = ?1)",
    },
)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What is left to remove once the rows are deleted.

    Attributes:
        pictures: Files in the pictures folder.
        digests: Name the pictures' thumbnails.
        inputs: Source files of the jobs, relative to the data folder; other jobs may need them too.
        exports: Ids of the exports whose files must be removed.
        jobs: Jobs that messages or pages may still show.
    """

    pictures: tuple[str, ...]
    digests: tuple[str, ...]
    inputs: tuple[str, ...]
    exports: tuple[int, ...]
    jobs: tuple[int, ...]


async def losses(tx: Tx, person_id: int) -> Losses:
    """Count what the deletion of a person's data would remove."""
    return await _LOSSES.select_one(tx, "WHERE id = ?1", (person_id,)) or Losses()


async def open_jobs(tx: Tx, person_id: int) -> tuple[tuple[int, JobState], ...]:
    """Return a person's unfinished jobs, with their states."""
    rows = await tx.execute_fetchall(
        "SELECT id, state FROM jobs WHERE person_id = ? AND state IN ('held', 'queued', 'running') ORDER BY id",
        (person_id,),
    )
    return tuple((row[0], JobState(row[1])) for row in rows)


async def forget(tx: Tx, person_id: int) -> Forgotten:
    """Delete a person's prompts, pictures, searches, exports, ways to sign in and names. Their unfinished jobs must have been cancelled.

    The ledger, the credits and the rows of jobs stay, without content. It is idempotent.
    """
    paths = await _column(tx, _PATHS, person_id)
    digests = await _column(tx, _DIGESTS, person_id)
    named = await _SOURCES.select(tx, "WHERE person_id = ?", (person_id,))
    exports = await tx.execute_fetchall("SELECT id FROM exports WHERE person_id = ?", (person_id,))
    for requests in (_PICTURE_REQUESTS, _PROMPT_DRAFTS):
        await _delete_incomplete(tx, requests, person_id)
    for statement in _ALL:
        await tx.execute_fetchall(statement, (person_id,))
    await _cancel_notices(tx, person_id)
    shown, newest = await _column(tx, _SHOWN, person_id), await _column(tx, _NEWEST, person_id)
    return Forgotten(
        tuple(str(path) for path in paths),
        tuple(str(digest) for digest in digests),
        tuple(dict.fromkeys(name for sources in named for name in sources.names)),
        tuple(row[0] for row in exports),
        tuple({*(int(str(job)) for job in shown), *(int(str(job)) for job in newest)}),
    )


async def _delete_incomplete(tx: Tx, requests: str, number: int) -> None:
    """Delete requests that are no jobs yet; their cards say so.

    Args:
        tx: A writing transaction.
        requests: Their table and condition.
        number: The number in the condition.
    """
    rows = await tx.execute_fetchall(
        f"DELETE FROM {requests} RETURNING event, json_extract(actor, '$.locale')",  # noqa: S608 - constants
        (number,),
    )
    for event, locale in rows:
        card = Card(Tone.STOPPED, text(locale or "en", "card.forgotten"), final=True, locale=locale or "en")
        await messages.replace_notice(tx, event, dump_card(card))


async def delete_job(tx: Tx, job_id: int) -> DeletedFiles:
    """Delete an ended job's prompt and pictures, everybody's favourites among them, and have its messages removed.

    Prompts that are written from its prompt are dropped, and their cards say so. The ledger and the row of the job stay,
    without content. It is idempotent.
    """
    rows = list(await tx.execute_fetchall("SELECT path, digest FROM pictures WHERE job_id = ?", (job_id,)))
    sources = await _SOURCES.select_one(tx, "WHERE id = ?", (job_id,))
    await _delete_incomplete(tx, _PROMPT_DRAFTS_OF_JOB, job_id)
    for statement in _JOB:
        await tx.execute_fetchall(statement, (job_id,))
    names = () if sources is None else sources.names
    return DeletedFiles(tuple(str(row[0]) for row in rows), names, tuple(str(row[1]) for row in rows), (job_id,))


async def _cancel_notices(tx: Tx, person_id: int) -> None:
    """Cancel notices to the person that are still to be sent, such as a page of the history."""
    rows = await tx.execute_fetchall("SELECT platform, user_id FROM accounts WHERE person_id = ?", (person_id,))
    accounts = {(row[0], row[1]) for row in rows}
    for message in await messages.wanted(tx):
        if message.job_id is None and (message.address.platform, message.address.user) in accounts:
            await messages.move(tx, message.id, MessageState.WANTED, MessageState.GONE)


@dataclass(frozen=True, slots=True)
class _Sources:
    """The files that a job starts from or refers to, relative to the data folder."""

    image: str
    mask: str
    references: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name in (self.image, self.mask, *self.references) if name)


_SOURCES = RowMapper(_Sources, "jobs")


async def _column(tx: Tx, sql: str, person_id: int) -> tuple[object, ...]:
    return tuple(row[0] for row in await tx.execute_fetchall(sql, (person_id,)))


@dataclass(frozen=True, slots=True)
class OldPicture:
    """A picture that may be deleted by age.

    Attributes:
        created_at: Unix seconds.
        id: Its row.
        job_id: Its job.
        place_id: Place of the job; None in direct messages and on the page.
    """

    created_at: float
    id: int
    job_id: int
    place_id: int | None


_OLD = RowMapper(
    OldPicture, columns={"created_at": "p.created_at", "id": "p.id", "job_id": "p.job_id", "place_id": "j.place_id"}
)


@dataclass(frozen=True, slots=True)
class _StoredFile:
    """The file of one picture, in the pictures folder, and the digest that names its thumbnails."""

    job_id: int
    path: str
    digest: str


_STORED = RowMapper(_StoredFile, "pictures")


@dataclass(frozen=True, slots=True)
class DeletedFiles:
    """Files of deleted rows.

    Attributes:
        pictures: In the pictures folder.
        inputs: Source files, relative to the data folder.
        digests: Name the pictures' thumbnails.
        jobs: The jobs that have lost their pictures.
    """

    pictures: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    jobs: tuple[int, ...] = ()


async def old_pictures(
    tx: Tx, *, before: float, limit: int, after: tuple[float, int] = (0.0, 0)
) -> tuple[OldPicture, ...]:
    """Return pictures of delivered jobs, oldest first; jobs with a favourite are left out.

    Args:
        tx: A transaction.
        before: Only pictures made before this time (Unix seconds).
        limit: Number of pictures at most.
        after: Only pictures after this one (its ``created_at`` and ``id``).
    """
    # CROSS JOIN makes SQLite walk the pictures by age, whatever it knows about the sizes of the tables.
    return await _OLD.fetch(
        tx,
        f"SELECT {_OLD.columns} FROM pictures p CROSS JOIN jobs j ON j.id = p.job_id"  # noqa: S608 - constants
        " WHERE (p.created_at, p.id) > (?, ?) AND p.created_at < ? AND j.state = 'delivered'"
        " AND NOT EXISTS (SELECT 1 FROM favourites f WHERE f.job_id = p.job_id)"
        " ORDER BY p.created_at, p.id LIMIT ?",
        (*after, before, limit),
    )


async def delete_pictures(tx: Tx, folder: str, job_ids: Collection[int]) -> DeletedFiles:
    """Delete the rows of these jobs' pictures, and the names of the jobs' own source files.

    Jobs with a favourite, and jobs whose pictures an open job starts from or refers to, are left alone.

    Args:
        tx: A writing transaction.
        folder: Name of the pictures folder.
        job_ids: The jobs.
    """
    if not job_ids:
        return DeletedFiles()
    # The same words as in the partial index jobs_open: SQLite uses it only then.
    open_ = await _SOURCES.select(tx, "WHERE state IN ('held', 'queued', 'running', 'painted')")
    needed = {name for sources in open_ for name in sources.names}
    marks = ", ".join("?" * len(job_ids))
    stored = await _STORED.fetch(
        tx,
        f"SELECT {_STORED.columns} FROM pictures p WHERE job_id IN ({marks})"  # noqa: S608 - question marks
        " AND NOT EXISTS (SELECT 1 FROM favourites f WHERE f.job_id = p.job_id)",
        tuple(job_ids),
    )
    busy = {file.job_id for file in stored if f"{folder}/{file.path}" in needed}
    going = sorted({file.job_id for file in stored} - busy)
    sources: list[str] = []
    for job_id in going:
        await tx.execute_fetchall("DELETE FROM pictures WHERE job_id = ?", (job_id,))
        sources += await _take_sources(tx, job_id)
    own = {name: None for name in sources if name.startswith(f"{inputs.FOLDER}/") and name != inputs.DELETED}
    removed = [file for file in stored if file.job_id not in busy]
    return DeletedFiles(
        tuple(file.path for file in removed), tuple(own), tuple(file.digest for file in removed), tuple(going)
    )


async def _take_sources(tx: Tx, job_id: int) -> tuple[str, ...]:
    """Return the files that a job starts from or refers to, and put ``DELETED`` for source files into its row."""
    sources = await _SOURCES.select_one(tx, "WHERE id = ?", (job_id,))
    assert sources is not None
    await tx.execute_fetchall(
        "UPDATE jobs SET image = ?, mask = '' WHERE id = ? AND image LIKE ?",
        (inputs.DELETED, job_id, f"{inputs.FOLDER}/%"),
    )
    if sources.references:
        # Their number stays: the card says how many there were.
        left = [inputs.DELETED if n.startswith(f"{inputs.FOLDER}/") else n for n in sources.references]
        await tx.execute_fetchall('UPDATE jobs SET "references" = ? WHERE id = ?', (TUPLE.write(left), job_id))
    return sources.names


async def retention_days(tx: Tx) -> dict[int, float]:
    """Return the retention in days by place id (0: the whole service). Places without a rule are missing."""
    rows = await tx.execute_fetchall("SELECT place_id, value FROM options WHERE name = 'keep_days'")
    return {row[0]: float(row[1]) for row in rows}


async def count_pictures(tx: Tx) -> int:
    """Return the number of pictures."""
    return int(next(iter(await tx.execute_fetchall("SELECT count(*) FROM pictures")))[0])


async def remove_source_files(db: Transactions, pictures: Path, names: Collection[str]) -> None:
    """Remove source files that no job names any more.

    Args:
        db: The database.
        pictures: The pictures folder.
        names: Relative to the data folder.
    """
    if not names:
        return
    # In a writing transaction, so that no job that names one of them is stored meanwhile.
    async with db.write(alone=True) as tx:
        needed = await jobs.source_files(tx)
        await inputs.remove(pictures, [name for name in names if name not in needed])
