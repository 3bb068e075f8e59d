"""Rows of requests that are not complete: pictures still to be fetched, pictures without words, prompts to be written."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from bot.core.messages import Address
from bot.core.people import Actor, Place
from bot.core.requests import DrawForm
from bot.storage.database import Tx
from bot.storage.people import OF_PERSON
from bot.storage.sql import ADDRESS, RowMapper, json_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NewPictureRequest:
    """A request to store; see PictureRequest."""

    event: str
    account_id: int
    platform: str
    actor: Actor
    place: Place
    address: Address
    form: DrawForm
    due_at: float
    created_at: float


@dataclass(frozen=True, slots=True)
class PictureRequest:
    """A request that waits for its pictures.

    Attributes:
        id: Its row.
        event: The event of the job that comes of it.
        account_id: Row of the account that asked.
        platform: The platform that has the pictures.
        actor: Who asked.
        place: Where.
        address: Where its card is.
        form: The request as typed, with the sources of its pictures.
        due_at: Until then further pictures of an album are expected, in Unix seconds.
        tries: How often a process has begun to fetch them.
        created_at: Unix seconds.
    """

    id: int
    event: str
    account_id: int
    platform: str
    actor: Actor
    place: Place
    address: Address
    form: DrawForm
    due_at: float
    tries: int
    created_at: float


_FORM = json_of(DrawForm, without=("image", "mask", "references"))
_CONVERTERS = {"actor": json_of(Actor), "place": json_of(Place), "address": ADDRESS, "form": _FORM}
_NEW = RowMapper(NewPictureRequest, "picture_requests", converters=_CONVERTERS)
_ROWS = RowMapper(PictureRequest, "picture_requests", converters=_CONVERTERS)


async def add(tx: Tx, new: NewPictureRequest) -> None:
    """Store a request. Raises sqlite3.IntegrityError if its event has one."""
    await _NEW.insert(tx, new)


async def update_form(tx: Tx, request_id: int, form: DrawForm, *, due_at: float) -> None:
    """Replace a request's form: a picture of its album has come, or its words have."""
    await tx.execute_fetchall(
        "UPDATE picture_requests SET form = ?, due_at = ? WHERE id = ?", (_FORM.write(form), due_at, request_id)
    )


async def by_event(tx: Tx, event: str) -> PictureRequest | None:
    """Return the request of an event, or None."""
    return await _ROWS.select_one(tx, "WHERE event = ?", (event,))


async def get(tx: Tx, request_id: int) -> PictureRequest | None:
    """Return a request, or None."""
    return await _ROWS.select_one(tx, "WHERE id = ?", (request_id,))


async def count_of_person(tx: Tx, person_id: int) -> int:
    """Return how many requests of a person's accounts wait for their pictures."""
    rows = await tx.execute_fetchall(
        f"SELECT count(*) FROM picture_requests WHERE {OF_PERSON}",  # noqa: S608 - a constant
        (person_id,),
    )
    return int(next(iter(rows))[0])


@dataclass(frozen=True, slots=True)
class DueRequest:
    """What the fetcher needs to know of a waiting request; see PictureRequest."""

    id: int
    account_id: int
    platform: str
    due_at: float


_DUE = RowMapper(DueRequest, "picture_requests")


async def waiting(tx: Tx, platforms: Collection[str]) -> tuple[DueRequest, ...]:
    """Return the requests of some platforms, oldest first."""
    marks = ", ".join("?" * len(platforms))
    return await _DUE.select(tx, f"WHERE platform IN ({marks}) ORDER BY id", tuple(platforms))


async def begin(tx: Tx, request_id: int) -> PictureRequest | None:
    """Count a try; return the request with it, or None if it is gone. A row that can't be read is removed."""
    try:
        return await _ROWS.fetch_one(
            tx,
            f"UPDATE picture_requests SET tries = tries + 1 WHERE id = ? RETURNING {_ROWS.columns}",  # noqa: S608 - constants
            (request_id,),
        )
    except ValueError as e:
        # A row that another version wrote must not be tried for ever.
        log.error("the request %d for pictures can't be read and is dropped: %s", request_id, e)
        await delete(tx, request_id)
        return None


async def end_try(tx: Tx, request_id: int) -> None:
    """A try ended without its pictures and without harm to the process, so it does not count."""
    await tx.execute_fetchall("UPDATE picture_requests SET tries = tries - 1 WHERE id = ?", (request_id,))


async def delete(tx: Tx, request_id: int) -> bool:
    """Delete a request. Returns whether it was there."""
    cursor = await tx.execute("DELETE FROM picture_requests WHERE id = ?", (request_id,))
    return cursor.rowcount == 1


DRAFTS = 8
"""Most drafts of an account; the oldest is dropped for another one."""

_DRAFT_SECONDS = 86400.0
"""Seconds after which a draft is dropped."""


async def add_draft(tx: Tx, account_id: int, form: DrawForm, *, now: float) -> int:
    """Store the pictures of a form that its person still has to fill in. Returns the row's id."""
    rows = await tx.execute_fetchall(
        "INSERT INTO picture_drafts (account_id, form, created_at) VALUES (?, ?, ?) RETURNING id",
        (account_id, _FORM.write(form), now),
    )
    await tx.execute_fetchall(
        "DELETE FROM picture_drafts WHERE account_id = ? AND id NOT IN"
        " (SELECT id FROM picture_drafts WHERE account_id = ? ORDER BY id DESC LIMIT ?)",
        (account_id, account_id, DRAFTS),
    )
    return int(next(iter(rows))[0])


async def get_draft(tx: Tx, draft_id: int, account_id: int) -> DrawForm | None:
    """Return a draft of an account, or None."""
    rows = await tx.execute_fetchall(
        "SELECT form FROM picture_drafts WHERE id = ? AND account_id = ?", (draft_id, account_id)
    )
    form: DrawForm | None = next((_FORM.read(row[0]) for row in rows), None)
    return form


async def drop_old_drafts(tx: Tx, *, now: float) -> None:
    """Drop the drafts that are older than a day, except prompts that are still to be written."""
    before = (now - _DRAFT_SECONDS,)
    await tx.execute_fetchall("DELETE FROM picture_drafts WHERE created_at < ?", before)
    await tx.execute_fetchall("DELETE FROM prompt_drafts WHERE created_at < ? AND state <> 'waiting'", before)


class DraftState(StrEnum):
    """A prompt that the engine writes: it waits, it is written, or nobody wants it any more."""

    WAITING = "waiting"
    WRITTEN = "written"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPromptDraft:
    """A prompt to write; see PromptDraft."""

    event: str
    account_id: int
    actor: Actor
    place: Place
    address: Address
    form: DrawForm
    job_id: int | None
    model: str
    seed: int
    state: DraftState = DraftState.WAITING
    created_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptDraft(NewPromptDraft):
    """A prompt that the engine writes.

    Attributes:
        event: The event that asked for it; its notice has the same.
        account_id: Row of the account that asked.
        actor: Who asked.
        place: Where.
        address: Where its card is.
        form: The request, without flags in its prompt. With ``sources`` the first of them is described.
        job_id: The job whose prompt is made richer; None if it is a request of its own.
        model: Name of the model's profile that the prompt is for.
        seed: Decides the choice of words.
        state: See DraftState.
        text: What was written; empty before.
        tries: How often a process or an engine has begun to write it.
        drawn_at: When it was drawn last, in Unix seconds; 0 before.
        created_at: Unix seconds.
    """

    id: int
    text: str = ""
    tries: int = 0
    drawn_at: float = 0.0


_NEW_PROMPT = RowMapper(NewPromptDraft, "prompt_drafts", converters=_CONVERTERS)
_PROMPTS = RowMapper(PromptDraft, "prompt_drafts", converters=_CONVERTERS)


async def add_prompt(tx: Tx, new: NewPromptDraft) -> int:
    """Store a prompt to write. Returns the row's id. Raises sqlite3.IntegrityError if its event has one."""
    rows = await _NEW_PROMPT.insert(tx, new, "RETURNING id")
    return int(next(iter(rows))[0])


async def prompt_by_event(tx: Tx, event: str) -> PromptDraft | None:
    """Return the prompt of an event, or None."""
    return await _PROMPTS.select_one(tx, "WHERE event = ?", (event,))


async def get_prompt(tx: Tx, draft_id: int) -> PromptDraft | None:
    """Return a prompt, or None."""
    return await _PROMPTS.select_one(tx, "WHERE id = ?", (draft_id,))


async def prompts_since(tx: Tx, person_id: int, since: float) -> tuple[float, ...]:
    """Return when a person has asked for prompts since a time, in Unix seconds, the oldest first."""
    rows = await tx.execute_fetchall(
        f"SELECT created_at FROM prompt_drafts WHERE {OF_PERSON} AND created_at > ? ORDER BY created_at",  # noqa: S608 - a constant
        (person_id, since),
    )
    return tuple(float(row[0]) for row in rows)


async def waiting_prompts(tx: Tx, person_id: int) -> int:
    """Return how many prompts of a person are not written yet."""
    rows = await tx.execute_fetchall(
        f"SELECT count(*) FROM prompt_drafts WHERE {OF_PERSON} AND state = 'waiting'",  # noqa: S608 - a constant
        (person_id,),
    )
    return int(next(iter(rows))[0])


async def unwritten_prompts(tx: Tx) -> tuple[int, ...]:
    """Return the ids of the prompts that are not written yet, the oldest first."""
    rows = await tx.execute_fetchall("SELECT id FROM prompt_drafts WHERE state = 'waiting' ORDER BY id")
    return tuple(int(row[0]) for row in rows)


async def begin_prompt(tx: Tx, draft_id: int) -> PromptDraft | None:
    """Count a try; return the waiting prompt with it, or None. A row that can't be read is ended."""
    try:
        return await _PROMPTS.fetch_one(
            tx,
            "UPDATE prompt_drafts SET tries = tries + 1 WHERE id = ? AND state = 'waiting'"  # noqa: S608 - constants
            f" RETURNING {_PROMPTS.columns}",
            (draft_id,),
        )
    except ValueError as e:
        log.error("the prompt %d can't be read and is dropped: %s", draft_id, e)
        await move_prompt(tx, draft_id, DraftState.WAITING, DraftState.ENDED)
        return None


async def end_prompt_try(tx: Tx, draft_id: int) -> None:
    """A try ended with the service, and without harm to it, so it does not count."""
    await tx.execute_fetchall(
        "UPDATE prompt_drafts SET tries = tries - 1 WHERE id = ? AND state = 'waiting'", (draft_id,)
    )


async def move_prompt(tx: Tx, draft_id: int, old: DraftState, new: DraftState, text: str = "") -> bool:
    """Change a prompt's state and text; returns whether it was in the old state."""
    cursor = await tx.execute(
        "UPDATE prompt_drafts SET state = ?, text = ? WHERE id = ? AND state = ?",
        (new.value, text, draft_id, old.value),
    )
    return cursor.rowcount == 1


async def end_prompt(tx: Tx, draft_id: int) -> bool:
    """End a prompt that waits or is written, without its text; returns whether it was one."""
    cursor = await tx.execute(
        "UPDATE prompt_drafts SET state = 'ended', text = '' WHERE id = ? AND state <> 'ended'", (draft_id,)
    )
    return cursor.rowcount == 1


async def draw_prompt(tx: Tx, draft_id: int, *, now: float, pause: float) -> bool:
    """Note that a prompt is drawn now; returns False if that was less than ``pause`` seconds ago."""
    cursor = await tx.execute(
        "UPDATE prompt_drafts SET drawn_at = ? WHERE id = ? AND NOT drawn_at BETWEEN ? AND ?",
        (now, draft_id, now - pause, now),
    )
    return cursor.rowcount == 1
