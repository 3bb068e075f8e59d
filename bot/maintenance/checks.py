"""Background checks: whether the clock can be trusted, and whether the database file is whole."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from bot.core.errors import Unavailable
from bot.core.ports import Clock
from bot.maintenance import store
from bot.maintenance.store import Doubt
from bot.moderation import store as moderation_rows
from bot.quotas.store import ledger
from bot.storage.database import Database, Tx

log = logging.getLogger(__name__)

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
class TrustedTime:
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

    async def look(self, ran: float = 0.0) -> TrustedTime:
        """Look at the clock.

        Args:
            ran: Seconds that this process has slept since its last look, by a clock that can't be set; 0 for the first.

        Raises:
            Unavailable: The database can't be used.
        """
        now = self._clock.now()
        async with self._db.write() as tx:
            seen, doubt = await store.read_clock(tx)
            newest = await store.newest_request(tx)
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
            await store.write_clock(tx, now, doubt)
        if doubt is None:
            return TrustedTime(now)
        ahead = now - doubt.known
        held = ahead > HELD_AFTER
        return TrustedTime(doubt.known if held else now, doubted=True, held=held, ahead=ahead)


SLACK = 5.0
"""By so much (in seconds) the clock may be corrected without a word."""

EARLIEST = 1_735_689_600.0
"""Unix seconds of 2025-01-01, before which Easel did not exist: a clock that says less is not set yet (a machine without
a battery, just started), and nothing is changed by what it says."""


class ClockSetback:
    """Compares the clock that people read with one that can't be set."""

    def __init__(self, db: Database, clock: Clock) -> None:
        """Args:
        db: Where the rows are.
        clock: Time.
        """
        self._db = db
        self._clock = clock
        self._offset = clock.now() - clock.monotonic()

    async def start(self) -> None:
        """Put right what is of the future already. It is no reason not to start where the database can't do that now."""
        try:
            async with self._db.write() as tx:
                await clamp(tx, self._clock.now())
        except Unavailable as e:
            log.warning("what was stored in the future can't be put right (%s)", e.key)

    async def look(self) -> None:
        """Put the rows right if the clock was set back since the last look. Raises Unavailable; then look again."""
        offset = self._clock.now() - self._clock.monotonic()
        if offset < self._offset - SLACK:
            async with self._db.write() as tx:
                await clamp(tx, self._clock.now())
            log.warning("the clock was set back by %.0f s", self._offset - offset)
        self._offset = offset


async def clamp(tx: Tx, now: float) -> None:
    """Let what was stored in the future begin now where that decides until when something holds."""
    if now < EARLIEST:
        return
    if moved := await moderation_rows.clamp_bans(tx, now=now):
        log.warning("%d bans were set in the future, by a clock that was set back since; they begin now", moved)
    if moved := await ledger.clamp_future(tx, now=now):
        log.warning(
            "%d lines of the ledger are of the future, of a clock that was set back since: they count now", moved
        )


EVERY = 6 * 3600.0
"""Seconds between two looks: each reads the whole file."""


async def watch_integrity(db: Database, clock: Clock) -> None:
    """Look until cancelled; what is found is logged, and told by ``Database.probe``."""
    while True:
        try:
            db.found_damaged(await store.integrity_problem(db.path))
        except Exception:  # the service goes on without
            log.exception("the database could not be checked; again in %g h", EVERY / 3600)
        await clock.sleep(EVERY)
