"""Time zones as people name them: ``Europe/Berlin``, or ``berlin`` alone."""

from __future__ import annotations

import difflib
from functools import cache
from zoneinfo import available_timezones

from bot.core.errors import BadInput
from bot.core.texts import fold, shown

_CLOSE = 0.5
"""How alike names must be, 0 to 1, for one to be meant by the other."""


def parse_zone(text: str) -> str:
    """Return the IANA name of a time zone.

    Raises:
        BadInput: There is none of that name; the nearest one is named.
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
    """Every zone by its name, and by the city's part of it where that is no other's; in lower case."""
    names: dict[str, str] = {}
    cities: dict[str, str] = {}
    for name in sorted(available_timezones()):
        names[name.lower()] = name
        area, _, city = name.rpartition("/")
        if area and not area.startswith(("Etc", "posix", "right", "SystemV")):
            # Of "America/Indianapolis" and "America/Indiana/Indianapolis" the shorter one.
            known = cities.get(city.lower())
            cities[city.lower()] = name if known is None or len(name) < len(known) else known
    return names, cities
