"""The log of what admins changed: read by those of the place, and taken back."""

from __future__ import annotations

import json

from bot.model.changes import Line
from bot.model.people import Actor, Place
from bot.model.service import State
from bot.store import audit, options, people
from bot.store.audit import Entry
from bot.store.database import Tx
from bot.usecases import changes, owners, rights
from bot.usecases.house import House
from bot.usecases.kinds import KINDS

SHOWN = 15
"""So many changes are listed, the newest first."""


async def listed(house: House, place: Place) -> tuple[Line, ...]:
    """Return the last changes of a place; in a direct message (an owner's right, checked before) those of all."""
    async with house.db.read() as tx:
        if place.guild is None:
            found = await audit.recent(tx, SHOWN)
        else:
            found = await audit.of_place(tx, place.platform, place.guild, SHOWN)
        return tuple([await _line(tx, entry) for entry in found])


async def undo(house: House, actor: Actor, place: Place, number: int) -> Line:
    """Take a change of this place back; in a direct message any. Rights to this verb were checked before.

    Raises:
        NotFound: There is no such change here.
        NotAllowed: It says which roles are admins, and they are one by such a role alone.
        BadInput: It was undone already, or changed again since.
    """
    async with house.db.write() as tx:
        within = None if place.guild is None else place
        undone = await changes.undo(tx, number, KINDS, within, by=changes.by_of(actor), now=house.clock.now())
        if _option(undone) == rights.ADMIN_ROLES:
            # A refusal takes all of this back.
            rights.check_appoints(actor)
        line = await _line(tx, undone)
        held = await options.service_state(tx) is State.PAUSE
    house.backlog.hold(held)
    await owners.refresh(house.db, house.owners)
    return line


def _option(entry: Entry) -> str:
    return str(json.loads(entry.subject).get("name", "")) if entry.kind == "option" else ""


async def _line(tx: Tx, entry: Entry) -> Line:
    platform, _, user_id = entry.actor.partition(":")
    who = await people.find(tx, platform, user_id)
    subject = json.loads(entry.subject) if entry.subject else {}
    before, after = (
        json.loads(value) if value and entry.kind else value or None for value in (entry.before, entry.after)
    )
    return Line(
        number=entry.id,
        at=entry.at,
        who=entry.actor if who is None or not who.name else f"{who.name} ({entry.actor})",
        action=entry.action,
        kind=entry.kind,
        subject=subject,
        whom=await _whom(tx, subject),
        place="" if entry.place is None else await _place(tx, entry),
        before=before,
        after=after,
        undone=await audit.undone(tx, entry.id),
    )


async def _whom(tx: Tx, subject: dict[str, object]) -> str:
    """Return the name of the person whom a change is about, or the id where it is not known."""
    user_id = subject.get("user_id") or subject.get("person")
    if user_id is None:
        return ""
    person = await people.find(tx, str(subject.get("platform")), str(user_id))
    return str(user_id) if person is None or not person.name else person.name


async def _place(tx: Tx, entry: Entry) -> str:
    place_id = await people.find_place(tx, Place(str(entry.platform), entry.place, ""))
    known = None if place_id is None else await people.place(tx, place_id)
    return str(entry.place) if known is None or not known.name else known.name
