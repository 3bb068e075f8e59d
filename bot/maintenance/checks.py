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

SETBACK_SECONDS = 5.0
"""Corrections of the clock up to this many seconds are not logged."""

EARLIEST = 1_735_689_600.0
"""2025-01-01 in Unix seconds. A clock before it is not set yet (a machine without a battery after its start), and rows
are not changed by it."""

INTEGRITY_INTERVAL = 6 * 3600.0
"""Seconds between two checks; each reads the whole file."""

log = logging.getLogger(__name__)

DAY = 86400.0

DOUBTED_AFTER = DAY
"""A clock that is further ahead of the last known time may have jumped. Or the service was off or idle."""

PAUSED_AFTER = 7 * DAY
"""If it is further ahead than this, nothing is deleted by age until the clock is confirmed."""

CONFIRMED_AFTER = DAY
"""Seconds of service with a steady clock until a doubted clock is trusted."""

_STEADY_SECONDS = 600.0
"""Corrections of the clock up to this many seconds are normal while the service runs."""


@dataclass(frozen=True, slots=True)
class TrustedTime:
    """The present time, for deletion by age.

    Attributes:
        now: The time to compare ages with (Unix seconds); never later than the clock's.
        doubted: The clock may have jumped.
        paused: The clock is so far ahead that nothing is deleted by age; ``now`` is the last known time.
        ahead: How far the clock is ahead of the last known time, in seconds.
    """

    now: float
    doubted: bool = False
    paused: bool = False
    ahead: float = 0.0


class ClockTrust:
    """Compares the clock with its last stored time and with the newest request."""

    def __init__(self, db: Database, clock: Clock) -> None:
        """Args:
        db: The database.
        clock: Time source.
        """
        self._db = db
        self._clock = clock

    async def check(self, ran: float = 0.0) -> TrustedTime:
        """Check the clock.

        Args:
            ran: Seconds since the last check, by the monotonic clock; 0 for the first check.

        Raises:
            Unavailable: The database can't be used.
        """
        now = self._clock.now()
        async with self._db.write() as tx:
            seen, doubt = await store.read_clock(tx)
            newest = await store.newest_request(tx)
            if seen > now + _STEADY_SECONDS:
                # It was set back: drop the doubt, and ignore times in the future.
                seen, doubt = 0.0, None
            known = max([moment for moment in (seen + ran if seen else 0.0, newest) if 0 < moment <= now], default=now)
            ahead = now - known
            jumped = ahead > (_STEADY_SECONDS if ran and seen else DOUBTED_AFTER)
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
        paused = ahead > PAUSED_AFTER
        return TrustedTime(doubt.known if paused else now, doubted=True, paused=paused, ahead=ahead)


class ClockSetback:
    """Detects by the monotonic clock that the system clock was set back, and corrects rows in the future."""

    def __init__(self, db: Database, clock: Clock) -> None:
        """Args:
        db: The database.
        clock: Time source.
        """
        self._db = db
        self._clock = clock
        self._offset = clock.now() - clock.monotonic()

    async def start(self) -> None:
        """Correct rows in the future. The service starts even if the database can't be written now."""
        try:
            async with self._db.write() as tx:
                await clamp(tx, self._clock.now())
        except Unavailable as e:
            log.warning("rows in the future can't be corrected (%s)", e.key)

    async def check(self) -> None:
        """Correct the rows if the clock was set back since the last check. Raises Unavailable; then check again."""
        offset = self._clock.now() - self._clock.monotonic()
        if offset < self._offset - SETBACK_SECONDS:
            async with self._db.write() as tx:
                await clamp(tx, self._clock.now())
            log.warning("the clock was set back by %.0f s", self._offset - offset)
        self._offset = offset


async def clamp(tx: Tx, now: float) -> None:
    """Let bans and ledger lines that begin in the future begin now."""
    if now < EARLIEST:
        return
    if moved := await moderation_rows.clamp_bans(tx, now=now):
        log.warning("the clock was set back: %d bans that begin in the future begin now", moved)
    if moved := await ledger.clamp_future(tx, now=now):
        log.warning("the clock was set back: %d ledger lines that count in the future count now", moved)


async def watch_integrity(db: Database, clock: Clock) -> None:
    """Check the database file until cancelled. Damage is logged and reported by ``Database.probe``."""
    while True:
        try:
            db.found_damaged(await store.integrity_problem(db.path))
        except Exception:  # the service goes on without checks
            log.exception("the database could not be checked; again in %g h", INTEGRITY_INTERVAL / 3600)
        await clock.sleep(INTEGRITY_INTERVAL)
