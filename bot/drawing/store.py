"""Rows of requests whose pictures are still to be fetched from their platform, and of pictures without words yet."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass

from bot.core.messages import Address
from bot.core.people import Actor, Place
from bot.core.requests import DrawForm
from bot.storage.database import Tx
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
        "SELECT count(*) FROM picture_requests WHERE account_id IN (SELECT id FROM accounts WHERE person_id = ?)",
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
        "DELETE FROM picture_drafts WHERE created_at < ? OR (account_id = ? AND id NOT IN"
        " (SELECT id FROM picture_drafts WHERE account_id = ? ORDER BY id DESC LIMIT ?))",
        (now - _DRAFT_SECONDS, account_id, account_id, DRAFTS),
    )
    return int(next(iter(rows))[0])


async def get_draft(tx: Tx, draft_id: int, account_id: int) -> DrawForm | None:
    """Return a draft of an account, or None."""
    rows = await tx.execute_fetchall(
        "SELECT form FROM picture_drafts WHERE id = ? AND account_id = ?", (draft_id, account_id)
    )
    form: DrawForm | None = next((_FORM.read(row[0]) for row in rows), None)
    return form
