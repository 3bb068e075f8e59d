"""How long a place, or the whole service, keeps pictures."""

from __future__ import annotations

from dataclasses import dataclass

from bot.model.errors import BadInput
from bot.model.people import Actor, Place
from bot.policy.spans import is_for_good, parse_span
from bot.store import options, people
from bot.store.database import Tx
from bot.usecases import changes
from bot.usecases.house import House
from bot.usecases.options import put

DAYS = "keep_days"
"""Option of a place, or of the whole service: a number of days; not set is for good."""

_DAY = 86400


@dataclass(frozen=True, slots=True)
class Kept:
    """For how many days pictures are kept; None is for good.

    Attributes:
        here: By this place's own rule.
        everywhere: By the owners' rule.
        whole: It is asked for the whole service, not for a place.
    """

    here: float | None
    everywhere: float | None
    whole: bool

    @property
    def days(self) -> float | None:
        """What holds: the shorter one."""
        given = [days for days in (self.here, self.everywhere) if days is not None]
        return min(given) if given else None


async def show(house: House, place: Place) -> Kept:
    """Return what holds in this place; in a direct message, for the whole service."""
    async with house.db.read() as tx:
        return await _kept(tx, place, await people.find_place(tx, place))


async def set_span(house: House, actor: Actor, place: Place, typed: str) -> Kept:
    """Set how long pictures of this place are kept; in a direct message, all of them. Rights were checked before.

    Raises:
        BadInput: No length of time, or less than a day.
    """
    days: float | None = None
    if not is_for_good(typed):
        days = parse_span(typed) / _DAY
        if days < 1:
            raise BadInput("refusal.keep.short")
    now = house.clock.now()
    async with house.db.write() as tx:
        place_id = await people.remember_place(tx, place, now=now)
        by = changes.by_of(actor)
        await put(tx, place_id, DAYS, days, action="easel keep", place=place, by=by, now=now)
        return await _kept(tx, place, place_id)


async def _kept(tx: Tx, place: Place, place_id: int | None) -> Kept:
    said = await options.read(tx, place_id)
    return Kept(_days(said.here.get(DAYS)), _days(said.everywhere.get(DAYS)), whole=place.guild is None)


def _days(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
