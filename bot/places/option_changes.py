"""Options of places and of the service as something that can be changed and undone."""

from __future__ import annotations

from bot.audit import changes
from bot.audit.changes import Change, Subject, Undoable, Value
from bot.commands.model import Invocation
from bot.core.errors import NotAllowed
from bot.core.people import Place
from bot.storage import options, people
from bot.storage.database import Tx


async def _get(tx: Tx, subject: Subject) -> Value:
    value = await options.get(tx, int(subject["place_id"] or 0), str(subject["name"]))
    return None if value is None else {"value": value}


async def _put(tx: Tx, subject: Subject, value: Value, set_by: str, now: float) -> None:  # noqa: ARG001 - the log has both
    await options.put(
        tx, int(subject["place_id"] or 0), str(subject["name"]), None if value is None else value["value"]
    )


OPTION = Undoable("option", _get, _put)
"""Subject: ``place_id`` (0 is the whole service) and ``name``. Value: ``{"value": ...}``."""


async def put(
    tx: Tx, place_id: int | None, name: str, value: object, *, action: str, place: Place, by: str, now: float
) -> None:
    """Set an option of a place, or of the whole service where ``place_id`` is None, and write down who did.

    Args:
        tx: A writing transaction.
        place_id: Whose.
        name: Which.
        value: What JSON can hold; None takes it away.
        action: What the log calls it.
        place: Where it was typed: its admins may read and undo it, unless it is the service's.
        by: ``platform:user id``, or ``operator``.
        now: Unix seconds.
    """
    subject: Subject = {"place_id": place_id or options.SERVICE, "name": name}
    where = None if place_id is None else place
    await changes.make(
        tx, Change(OPTION, action, subject, None if value is None else {"value": value}, where), by=by, now=now
    )


async def set_here(tx: Tx, call: Invocation, name: str, value: object, *, now: float) -> None:
    """Set an option of the place where a verb is typed; None takes it away.

    Raises:
        NotAllowed: It was typed in a direct message.
    """
    place_id = await people.remember_place(tx, call.place, now=now)
    if place_id is None:
        raise NotAllowed("refusal.rights.no_place")
    if await options.get(tx, place_id, name) == value:
        return  # nothing to read in the log, and nothing to undo
    by = changes.by_of(call.actor)
    await put(tx, place_id, name, value, action=call.verb.name, place=call.place, by=by, now=now)
