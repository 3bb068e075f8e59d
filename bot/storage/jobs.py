"""The table of jobs: one row per event, guarded changes of state, and who may see a job."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from bot.core.errors import NotFound
from bot.core.jobs import MOVES, Job, JobState
from bot.core.people import Actor, Place
from bot.core.requests import DrawRequest
from bot.core.strictness import Strictness
from bot.storage import data_files, inputs, messages, people
from bot.storage.database import Tx
from bot.storage.sql import AMONG, TUPLE, Column, Converter, RowMapper
from engine.contract import LoraRequest

_ENDED = frozenset({JobState.PAINTED, JobState.CANCELLED, JobState.FAILED})


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to store; see Job.

    Attributes:
        strictness: Of the place: the job's pictures are judged by it.
        roles: Roles of the person who asked; kept for held jobs, which are admitted later.
        pressed: The button that made the job, such as ``vary:0``; empty if none did.
        digest: Digest of the request; see EventRef.
    """

    event: str
    state: JobState
    person_id: int
    account_id: int
    place_id: int | None
    request: DrawRequest
    locale: str
    asker: str
    created_at: float
    parent_id: int | None = None
    channel: str = ""
    strictness: Strictness = Strictness.OFF
    roles: tuple[str, ...] = ()
    pressed: str = ""
    digest: str = ""


def _source_file(name: str) -> str:
    """Return the name of a source file; a row from another machine's backup must not name any file of this one."""
    return name if not name or data_files.is_confined(name) else inputs.DELETED


_SOURCE = Converter(_source_file, str)
_SOURCES = Converter(lambda text: tuple(_source_file(name) for name in TUPLE.read(text)), TUPLE.write)
_LORAS = Converter(
    lambda text: tuple(LoraRequest(name, weight) for name, weight in TUPLE.read(text)),
    lambda loras: TUPLE.write([(lora.name, lora.weight) for lora in loras]),
)
_NEW = RowMapper(NewJob, "jobs", converters={"references": _SOURCES, "loras": _LORAS})
_JOBS = RowMapper(Job, "jobs", converters={"image": _SOURCE, "mask": _SOURCE, "references": _SOURCES, "loras": _LORAS})

COLUMNS: Mapping[str, Column] = MappingProxyType({c.name: c for c in (*_NEW.column_list, *_JOBS.column_list)})
"""The columns of a job, by name."""


async def add(tx: Tx, new: NewJob) -> Job:
    """Store a job and return it as stored. Raises sqlite3.IntegrityError if its event has a job already."""
    rows = await _NEW.insert(tx, new, f"RETURNING {_JOBS.columns}")
    return _JOBS.read(next(iter(rows)))


async def move(
    tx: Tx,
    job_id: int,
    frm: JobState,
    to: JobState,
    *,
    now: float,
    error: str = "",
    seconds: float | None = None,
    lost: bool = False,
) -> bool:
    """Change a job's state by compare-and-swap. No other function changes it. The caller that gets True does the rest.

    Args:
        tx: A writing transaction.
        job_id: The job.
        frm: The expected state.
        to: The new state.
        now: Unix seconds: the job's start (RUNNING) or end (PAINTED, CANCELLED, FAILED).
        error: Catalogue key of the reason why it failed.
        seconds: Time that the device spent on it; None leaves the stored value.
        lost: It returns to QUEUED because the engine was lost: count the attempt.

    Returns:
        Whether this call changed the state; False if the job has another state or does not exist.

    Raises:
        ValueError: The move is not legal.
    """
    if to not in MOVES[frm]:
        raise ValueError(f"a job can't go from {frm} to {to}")
    cursor = await tx.execute(
        "UPDATE jobs SET state = ?, error = ?, attempts = attempts + ?, seconds = coalesce(?, seconds),"
        " started_at = CASE WHEN ? THEN ? WHEN ? THEN NULL ELSE started_at END,"
        " ended_at = CASE WHEN ? THEN ? ELSE ended_at END"
        " WHERE id = ? AND state = ?",
        (
            to.value,
            error,
            int(lost),
            seconds,
            to is JobState.RUNNING,
            now,
            to is JobState.QUEUED,
            to in _ENDED,
            now,
            job_id,
            frm.value,
        ),
    )
    return cursor.rowcount == 1


async def deliver(tx: Tx, job_id: int) -> bool:
    """Move a job from PAINTED to DELIVERED unless one of its messages is still to be shown or removed.

    Returns whether this call moved it.
    """
    # One statement, as ``move`` would do it: it comes with every picture.
    cursor = await tx.execute(_DELIVER, (job_id,))
    return cursor.rowcount == 1


_DELIVER = (
    "UPDATE jobs SET state = 'delivered' WHERE id = ? AND state = 'painted'"  # noqa: S608 - constants
    f" AND NOT EXISTS (SELECT 1 FROM messages WHERE job_id = jobs.id AND (unwanted = 1 OR {messages.UNSETTLED}))"
)

_CLAIM = (
    "UPDATE jobs SET state = 'running', error = '', started_at = ?"  # noqa: S608 - constants
    f" WHERE id IN {AMONG} AND state = 'queued' RETURNING {_JOBS.columns}"
)


async def claim(tx: Tx, job_ids: Sequence[int], *, now: float) -> tuple[Job, ...]:
    """Move jobs from QUEUED to RUNNING; return those that were moved, in no order. Others were cancelled, for example."""
    # One statement, as ``move`` would do it: many slots are given work in one transaction.
    return await _JOBS.fetch(tx, _CLAIM, (now, json.dumps(list(job_ids))))


async def requeue(tx: Tx, job_id: int, *, now: float, lost: bool) -> bool:
    """Move a job from RUNNING back to QUEUED; ``lost`` counts the attempt (a graceful stop does not)."""
    return await move(tx, job_id, JobState.RUNNING, JobState.QUEUED, now=now, lost=lost)


async def count_loss(tx: Tx, job_id: int) -> bool:
    """Count an attempt of a job of which a slot has lost a part, while another slot draws on; returns whether it runs."""
    rows = await tx.execute_fetchall(
        "UPDATE jobs SET attempts = attempts + 1 WHERE id = ? AND state = 'running' RETURNING id", (job_id,)
    )
    return any(True for _ in rows)


async def add_note(tx: Tx, job_id: int, note: str) -> None:
    """Add a note, a catalogue key, behind those of a job's request."""
    await tx.execute_fetchall("UPDATE jobs SET notes = json_insert(notes, '$[#]', ?) WHERE id = ?", (note, job_id))


async def get(tx: Tx, job_id: int) -> Job | None:
    """Return a job, or None."""
    return await _JOBS.select_one(tx, "WHERE id = ?", (job_id,))


async def roles_of(tx: Tx, job_id: int) -> tuple[str, ...]:
    """Return the roles that were stored with a job."""
    rows = await tx.execute_fetchall("SELECT roles FROM jobs WHERE id = ?", (job_id,))
    return next((tuple(json.loads(row[0])) for row in rows), ())


async def digest_of(tx: Tx, job_id: int) -> str:
    """Return the digest of a job's request; empty if none was stored."""
    rows = await tx.execute_fetchall("SELECT digest FROM jobs WHERE id = ?", (job_id,))
    return next((str(row[0]) for row in rows), "")


async def open_of_person(tx: Tx, person_id: int, *, limit: int) -> tuple[Job, ...]:
    """Return up to ``limit`` unfinished jobs of a person: running ones first, then the oldest first."""
    # Constants, as in the partial index jobs_waiting: SQLite uses it only for the same words.
    return await _JOBS.select(
        tx,
        "WHERE state IN ('held', 'queued', 'running') AND person_id = ? ORDER BY state = 'running' DESC, id LIMIT ?",
        (person_id, limit),
    )


async def by_event(tx: Tx, event: str) -> Job | None:
    """Return the job of an event, or None."""
    return await _JOBS.select_one(tx, "WHERE event = ?", (event,))


async def find_pressed(
    tx: Tx, person_id: int, parent_id: int, button: str, *, since: float, until: float
) -> Job | None:
    """Return the newest job that a person made by a button; None if there is none, or it was cancelled or failed.

    Args:
        tx: A transaction.
        person_id: The person.
        parent_id: The job that the button belongs to.
        button: The button; see ``NewJob.pressed``.
        since: Only jobs made after this time (Unix seconds).
        until: Only jobs made up to this time: a later one was made before the clock was set back.
    """
    return await _JOBS.select_one(
        tx,
        "WHERE person_id = ? AND created_at > ? AND created_at <= ? AND parent_id = ? AND pressed = ?"
        " AND state NOT IN ('cancelled', 'failed') ORDER BY created_at DESC, id DESC LIMIT 1",
        (person_id, since, until, parent_id, button),
    )


async def in_state(tx: Tx, state: JobState) -> tuple[Job, ...]:
    """Return the jobs in one of the states HELD, QUEUED, RUNNING and PAINTED, oldest first."""
    return await _JOBS.select(
        tx,
        # The same words as in the partial index jobs_open: SQLite uses it only then.
        "WHERE state = ? AND state IN ('held', 'queued', 'running', 'painted') ORDER BY id",
        (state.value,),
    )


async def waiting_ids(tx: Tx) -> frozenset[int]:
    """Return the ids of the queued jobs."""
    # The same words as in the partial index jobs_open: SQLite uses it only then.
    rows = await tx.execute_fetchall(
        "SELECT id FROM jobs WHERE state = 'queued' AND state IN ('held', 'queued', 'running', 'painted')"
    )
    return frozenset(row[0] for row in rows)


async def source_files(tx: Tx) -> frozenset[str]:
    """Return the source files of all jobs, relative to the data folder. A reroll needs them as long as its job is stored."""
    # The same words as in the partial indexes jobs_started and jobs_references: SQLite uses them only then.
    rows = await tx.execute_fetchall("SELECT image, mask FROM jobs WHERE image <> ''")
    lists = await tx.execute_fetchall('SELECT "references" FROM jobs WHERE "references" <> \'[]\'')
    started = {name for row in rows for name in row if name}
    return frozenset(started.union(*(TUPLE.read(row[0]) for row in lists)))


async def of_person(
    tx: Tx, person_id: int, *, limit: int, before: int | None = None, pictured: bool = False, kind: str = ""
) -> tuple[Job, ...]:
    """Return a person's jobs, newest first.

    Args:
        tx: A transaction.
        person_id: The person.
        limit: Number of jobs at most.
        before: Only jobs with a smaller id.
        pictured: Only jobs with pictures.
        kind: Only jobs of this kind; empty for all.
    """
    where = "WHERE person_id = ? AND id < ? AND NOT forgotten AND deletion_id IS NULL"
    values: list[int | str] = [person_id, 2**62 if before is None else before]
    if kind:
        where += " AND kind = ?"
        values.append(kind)
    if pictured:
        where += " AND EXISTS (SELECT 1 FROM pictures WHERE pictures.job_id = jobs.id)"
    return await _JOBS.select(tx, f"{where} ORDER BY id DESC LIMIT ?", (*values, limit))


async def of_ids(tx: Tx, job_ids: Sequence[int]) -> tuple[Job, ...]:
    """Return these jobs in this order; missing ones are left out."""
    if not job_ids:
        return ()
    found = {job.id: job for job in await _JOBS.select(tx, f"WHERE id IN {AMONG}", (json.dumps(list(job_ids)),))}
    return tuple(found[job_id] for job_id in job_ids if job_id in found)


async def owners_of(tx: Tx, job_ids: Collection[int]) -> dict[int, int]:
    """Return the person of each of these jobs, by job; missing jobs are left out."""
    marks = ", ".join("?" * len(job_ids))
    rows = await tx.execute_fetchall(
        f"SELECT id, person_id FROM jobs WHERE id IN ({marks})",  # noqa: S608 - question marks
        tuple(job_ids),
    )
    return {int(row[0]): int(row[1]) for row in rows}


async def with_pictures(tx: Tx, *, up_to: int, limit: int) -> tuple[Job, ...]:
    """Return jobs with pictures of all people, with ids up to ``up_to``, newest first."""
    where = "WHERE id <= ? AND EXISTS (SELECT 1 FROM pictures WHERE pictures.job_id = jobs.id)"
    return await _JOBS.select(tx, f"{where} ORDER BY id DESC LIMIT ?", (up_to, limit))


async def first_since(tx: Tx, person_id: int, moment: float) -> int | None:
    """Return the id of a person's first job at or after a time (Unix seconds), or None."""
    rows = await tx.execute_fetchall(
        "SELECT id FROM jobs WHERE person_id = ? AND created_at >= ? ORDER BY created_at, id LIMIT 1",
        (person_id, moment),
    )
    return next((int(row[0]) for row in rows), None)


async def get_own(tx: Tx, actor: Actor, job_id: int) -> Job:
    """Return a job of the actor. Raises NotFound, also if it is another person's or about to be deleted."""
    job = await get(tx, job_id)
    if job is None or job.deletion_id is not None or not await is_own(tx, actor, job):
        raise NotFound("refusal.job.not_found")
    return job


async def last_prompts(tx: Tx, actor: Actor, *, limit: int) -> tuple[tuple[int, str], ...]:
    """Return the prompts, as typed, of somebody's last ``limit`` jobs, newest first, each with the last job that has it."""
    rows = await tx.execute_fetchall(
        "SELECT max(id) AS newest, typed FROM (SELECT id, typed FROM jobs WHERE person_id ="
        " (SELECT person_id FROM accounts WHERE platform = ? AND user_id = ?) AND typed <> '' AND NOT forgotten AND deletion_id IS NULL"
        " ORDER BY id DESC LIMIT ?) GROUP BY typed ORDER BY newest DESC",
        (actor.platform, actor.user_id, limit),
    )
    return tuple((int(row[0]), str(row[1])) for row in rows)


async def get_visible(tx: Tx, actor: Actor, place: Place, job_id: int) -> Job:
    """Return a job that the actor may see: their own, or a public one that was shown in this chat.

    Raises:
        NotFound: There is none, the actor may not see it, or its author has deleted it or their data.
    """
    job = await get(tx, job_id)
    if job is None or job.deletion_id is not None:
        raise NotFound("refusal.job.not_found")
    if not await is_own(tx, actor, job) and (
        job.request.private or not await messages.was_shown_in(tx, job.id, place.platform, place.channel)
    ):
        raise NotFound("refusal.job.not_found")
    if job.forgotten:
        raise NotFound("refusal.job.forgotten")
    return job


async def is_own(tx: Tx, actor: Actor, job: Job) -> bool:
    """Whether the actor is the author of the job, by any of their accounts."""
    person = await people.find(tx, actor.platform, actor.user_id)
    return person is not None and person.id == job.person_id
