"""Options of places and of the service as something that can be changed and undone."""

from __future__ import annotations

from bot.model.errors import NotAllowed
from bot.model.verbs import Call
from bot.store import options, people
from bot.store.database import Tx
from bot.usecases import changes
from bot.usecases.changes import Change, Kind, Subject, Value


async def _get(tx: Tx, subject: Subject) -> Value:
    value = await options.get(tx, int(subject["place_id"] or 0), str(subject["name"]))
    return None if value is None else {"value": value}


async def _put(tx: Tx, subject: Subject, value: Value, set_by: str, now: float) -> None:  # noqa: ARG001 - the log has both
    await options.put(
        tx, int(subject["place_id"] or 0), str(subject["name"]), None if value is None else value["value"]
    )


OPTION = Kind("option", _get, _put)
"""Subject: ``place_id`` (0 is the whole service) and ``name``. Value: ``{"value": ...}``."""


async def set_here(tx: Tx, call: Call, name: str, value: object, *, now: float) -> None:
    """Set an option of the place where a verb is typed; None takes it away.

    Raises:
        NotAllowed: It was typed in a direct message.
    """
    place_id = await people.remember_place(tx, call.place, now=now)
    if place_id is None:
        raise NotAllowed("refusal.rights.no_place")
    subject: Subject = {"place_id": place_id, "name": name}
    if await options.get(tx, place_id, name) == value:
        return  # nothing to read in the log, and nothing to undo
    change = Change(OPTION, call.verb.name, subject, None if value is None else {"value": value}, call.place)
    await changes.make(tx, change, by=changes.by_of(call.actor), now=now)
