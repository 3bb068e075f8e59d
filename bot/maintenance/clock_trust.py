"""Whether the machine's clock can be believed before anything is removed because of its age."""

from __future__ import annotations

from dataclasses import dataclass

from bot.core.ports import Clock
from bot.maintenance.store import clocks
from bot.maintenance.store.clocks import Doubt
from bot.storage.database import Database

DAY = 86400.0

DOUBTED_AFTER = DAY
"""A clock that is further ahead of the last thing that is known may have jumped: or the service was off, or idle."""

HELD_AFTER = 7 * DAY
"""Further ahead than this, nothing is removed by age until the clock is confirmed."""

CONFIRMED_AFTER = DAY
"""Seconds that the service runs with the clock at the same pace until it is believed."""

_SLACK = 600.0
"""By so much (in seconds) the clock may be corrected while the service runs."""


@dataclass(frozen=True, slots=True)
class Belief:
    """What the clock says, and what of it is believed.

    Attributes:
        now: What counts as now where something is removed by its age (Unix seconds): never later than the clock says.
        doubted: The clock may have jumped.
        held: It is so far ahead that nothing is removed by age; ``now`` is the last moment that is known then.
        ahead: By how much it is ahead of that moment, in seconds.
    """

    now: float
    doubted: bool = False
    held: bool = False
    ahead: float = 0.0


class ClockTrust:
    """Compares the clock with what it said last and with the newest request; both are in the database."""

    def __init__(self, db: Database, clock: Clock) -> None:
        """Args:
        db: Where the rows are.
        clock: Time.
        """
        self._db = db
        self._clock = clock

    async def look(self, ran: float = 0.0) -> Belief:
        """Look at the clock.

        Args:
            ran: Seconds that this process has slept since its last look, by a clock that can't be set; 0 for the first.

        Raises:
            Unavailable: The database can't be used.
        """
        now = self._clock.now()
        async with self._db.write() as tx:
            seen, doubt = await clocks.read(tx)
            newest = await clocks.newest(tx)
            if seen > now + _SLACK:
                # It was set back: whatever was doubted is over, and what was stored in the future says nothing.
                seen, doubt = 0.0, None
            known = max([moment for moment in (seen + ran if seen else 0.0, newest) if 0 < moment <= now], default=now)
            ahead = now - known
            jumped = ahead > (_SLACK if ran and seen else DOUBTED_AFTER)
            if doubt is None:
                doubt = Doubt(known, 0.0) if jumped else None
            elif jumped:
                doubt = Doubt(doubt.known, 0.0)
            else:
                doubt = Doubt(doubt.known, doubt.ran + ran) if doubt.ran + ran < CONFIRMED_AFTER else None
            await clocks.write(tx, now, doubt)
        if doubt is None:
            return Belief(now)
        ahead = now - doubt.known
        held = ahead > HELD_AFTER
        return Belief(doubt.known if held else now, doubted=True, held=held, ahead=ahead)
