"""How long a place, or the whole service, keeps pictures."""

from __future__ import annotations

from dataclasses import dataclass

from bot.audit import changes
from bot.context import AppContext
from bot.core.durations import is_for_good, parse_span
from bot.core.errors import BadInput
from bot.core.people import Actor, Place
from bot.places.option_changes import put
from bot.storage import options, people
from bot.storage.database import Tx

DAYS = "keep_days"
"""Option of a place, or of the whole service: a number of days; not set is for good."""

_DAY = 86400


@dataclass(frozen=True, slots=True)
class RetentionSpan:
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


async def show(ctx: AppContext, place: Place) -> RetentionSpan:
    """Return what holds in this place; in a direct message, for the whole service."""
    async with ctx.db.read() as tx:
        return await _kept(tx, place, await people.find_place(tx, place))


async def set_span(ctx: AppContext, actor: Actor, place: Place, typed: str) -> RetentionSpan:
    """Set how long pictures of this place are kept; in a direct message, all of them. Rights were checked before.

    Raises:
        BadInput: No length of time, or less than a day.
    """
    days: float | None = None
    if not is_for_good(typed):
        days = parse_span(typed) / _DAY
        if days < 1:
            raise BadInput("refusal.keep.short")
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        place_id = await people.remember_place(tx, place, now=now)
        by = changes.by_of(actor)
        await put(tx, place_id, DAYS, days, action="easel keep", place=place, by=by, now=now)
        return await _kept(tx, place, place_id)


async def _kept(tx: Tx, place: Place, place_id: int | None) -> RetentionSpan:
    said = await options.read(tx, place_id)
    return RetentionSpan(_days(said.here.get(DAYS)), _days(said.everywhere.get(DAYS)), whole=place.guild is None)


def _days(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
