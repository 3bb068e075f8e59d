"""What was drawn lately, for charts: recorded from the metrics into one row for each quarter of an hour."""

from __future__ import annotations

import logging
from collections.abc import Sequence, Sized
from dataclasses import dataclass

from bot.core.errors import Unavailable
from bot.core.ports import Clock
from bot.observability.metrics import ActivityTotals, Metrics
from bot.owner import store
from bot.owner.store import Activity
from bot.storage.database import Database, Transactions

SLOT = 900
"""Seconds of a row."""

EVERY = 60.0
"""Seconds between two looks at the metrics; a kill loses at most what came since the last one."""

SLOTS = 96
"""Rows of a chart: a day."""

KEPT = 7 * SLOTS
"""Rows that are kept: a week."""

log = logging.getLogger(__name__)


class ActivityRecorder:
    """Adds what has ended since the last look to the row of the present quarter of an hour.

    It writes nothing while nothing ends and nothing waits, and the number of rows is bounded.
    """

    def __init__(self, db: Database, metrics: Metrics, queue: Sized, clock: Clock) -> None:
        """Args:
        db: The database.
        metrics: Counts what ends.
        queue: The waiting jobs.
        clock: Time.
        """
        self._db = db
        self._metrics = metrics
        self._queue = queue
        self._clock = clock
        self._seen = ActivityTotals()
        self._slot = 0
        self._waiting = 0

    async def run(self) -> None:
        """Look every EVERY seconds until cancelled."""
        while True:
            await self._clock.sleep(EVERY)
            try:
                await self.flush()
            except Exception:  # a chart is no reason to end the service
                log.exception("what was drawn lately could not be written down")

    async def flush(self) -> None:
        """Look now. What can't be written is added at the next look."""
        now = self._clock.now()
        slot = int(now // SLOT) * SLOT
        totals, seen = self._metrics.totals(), self._seen
        waiting = len(self._queue)
        if totals == seen and (not waiting or (slot, waiting) == (self._slot, self._waiting)):
            return
        found = Activity(
            at=slot,
            pictures=totals.pictures - seen.pictures,
            failed=totals.failed - seen.failed,
            cancelled=totals.cancelled - seen.cancelled,
            within=totals.within - seen.within,
            early=totals.early - seen.early,
            late=totals.late - seen.late,
            waiting=waiting,
            busy=totals.busy - seen.busy,
        )
        try:
            async with self._db.write() as tx:
                await store.add_activity(tx, found, kept_since=slot - KEPT * SLOT)
        except Unavailable as e:
            log.debug("what was drawn lately can't be written down (%s); again in %g s", e.key, EVERY)
        else:
            self._seen, self._slot, self._waiting = totals, slot, waiting


@dataclass(frozen=True, slots=True)
class Charts:
    """The last day, a row for each quarter of an hour; ``slot`` is its length in seconds."""

    slot: int
    rows: Sequence[Activity]


async def charts(db: Transactions, *, now: float) -> Charts:
    """Return the last day up to now, with rows of zeros where nothing happened."""
    last = int(now // SLOT) * SLOT
    first = last - (SLOTS - 1) * SLOT
    async with db.read() as tx:
        known = {row.at: row for row in await store.activity_since(tx, first)}
    return Charts(SLOT, [known.get(at, Activity(at)) for at in range(first, last + SLOT, SLOT)])
