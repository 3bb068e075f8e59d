"""Options of places: their changes, time zones, pauses, and places whose id has changed."""

from __future__ import annotations

import difflib
import logging
from functools import cache
from zoneinfo import available_timezones

from bot.audit import changes
from bot.audit.changes import Change, Subject, Undoable, Value
from bot.commands.model import Invocation
from bot.context import AppContext
from bot.core.errors import BadInput, NotAllowed
from bot.core.people import Place
from bot.core.texts import fold, shown
from bot.storage import people, preferences
from bot.storage.database import Tx

log = logging.getLogger(__name__)

PAUSED = "paused"
"""Option of a place: true while it admits no requests. Waiting jobs are still drawn."""

_CLOSE = 0.5
"""Least similarity, 0 to 1, of a name that is suggested."""


def parse_zone(text: str) -> str:
    """Return the IANA name of a time zone, from its name or its city.

    Raises:
        BadInput: There is no such zone; names the nearest one.
    """
    wanted = fold(text).replace(" ", "_")
    names, cities = _names()
    if wanted in names:
        return names[wanted]
    if wanted in cities:
        return cities[wanted]
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=_CLOSE)
    near_city = difflib.get_close_matches(wanted, cities, n=1, cutoff=_CLOSE)
    nearest = cities[near_city[0]] if near_city else names[near[0]] if near else "Europe/Berlin"
    raise BadInput("refusal.zone", value=shown(text), nearest=nearest)


@cache
def _names() -> tuple[dict[str, str], dict[str, str]]:
    """Return the zones by name, and by city; keys are in lower case."""
    names: dict[str, str] = {}
    cities: dict[str, str] = {}
    for name in sorted(available_timezones()):
        names[name.lower()] = name
        area, _, city = name.rpartition("/")
        if area and not area.startswith(("Etc", "posix", "right", "SystemV")):
            # The shorter one of "America/Indianapolis" and "America/Indiana/Indianapolis".
            known = cities.get(city.lower())
            cities[city.lower()] = name if known is None or len(name) < len(known) else known
    return names, cities


async def _get(tx: Tx, subject: Subject) -> Value:
    value = await people.get_option(tx, int(subject["place_id"] or 0), str(subject["name"]))
    return None if value is None else {"value": value}


async def _put(tx: Tx, subject: Subject, value: Value, set_by: str, now: float) -> None:  # noqa: ARG001 - the log has both
    await people.put_option(
        tx, int(subject["place_id"] or 0), str(subject["name"]), None if value is None else value["value"]
    )


OPTION = Undoable("option", _get, _put)
"""Subject: ``place_id`` (0 is the whole service) and ``name``. Value: ``{"value": ...}``."""


async def set_option(
    tx: Tx, place_id: int | None, name: str, value: object, *, action: str, place: Place, by: str, now: float
) -> None:
    """Set an option of a place, or of the whole service if ``place_id`` is None, and log the change.

    Args:
        tx: A writing transaction.
        place_id: The place.
        name: The option's name.
        value: A JSON value; None removes the option.
        action: The command's name in the audit log.
        place: The place whose admins may read and undo the change, unless it is the service's option.
        by: ``platform:user id``, or ``operator``.
        now: Unix seconds.
    """
    subject: Subject = {"place_id": place_id or people.SERVICE, "name": name}
    where = None if place_id is None else place
    await changes.apply_change(
        tx, Change(OPTION, action, subject, None if value is None else {"value": value}, where), by=by, now=now
    )


async def set_place_option(tx: Tx, invocation: Invocation, name: str, value: object, *, now: float) -> None:
    """Set an option of the place where a command is typed; None removes it.

    Raises:
        NotAllowed: The command was typed in a direct message.
    """
    place_id = await people.remember_place(tx, invocation.place, now=now)
    if place_id is None:
        raise NotAllowed("refusal.rights.no_place")
    if await people.get_option(tx, place_id, name) == value:
        return  # no change to log
    by = changes.actor_label(invocation.actor)
    await set_option(tx, place_id, name, value, action=invocation.command.name, place=invocation.place, by=by, now=now)


async def place_moved(ctx: AppContext, platform: str, old: str, new: str) -> None:
    """Move everything of a guild from its old id to its new one. Raises Unavailable."""
    async with ctx.db.write() as tx:
        await people.move_place(tx, platform, old, new)
    await preferences.refresh(ctx.db, ctx.preferences)
    log.info("%s: the place %s is %s from now on", platform, old, new)
