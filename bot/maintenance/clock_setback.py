"""Notices that the machine's clock was set back, and puts right what was stored in the future."""

from __future__ import annotations

import logging

from bot.core.errors import Unavailable
from bot.core.ports import Clock
from bot.moderation.store import bans as ban_rows
from bot.quotas.store import ledger
from bot.storage.database import Database, Tx

SLACK = 5.0
"""By so much (in seconds) the clock may be corrected without a word."""

EARLIEST = 1_735_689_600.0
"""Unix seconds of 2025-01-01, before which Easel did not exist: a clock that says less is not set yet (a machine without
a battery, just started), and nothing is changed by what it says."""

log = logging.getLogger(__name__)


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
    if moved := await ban_rows.clamp(tx, now=now):
        log.warning("%d bans were set in the future, by a clock that was set back since; they begin now", moved)
    if moved := await ledger.clamp(tx, now=now):
        log.warning(
            "%d lines of the ledger are of the future, of a clock that was set back since: they count now", moved
        )
