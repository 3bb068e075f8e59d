"""Sweeps pictures that shall not be kept any longer: by each place's rule, and when the disk gets full."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path

from bot.core.errors import Unavailable
from bot.core.ports import Clock
from bot.maintenance.checks import CONFIRMED_AFTER, ClockTrust, TrustedTime
from bot.privacy.store import deletion as retention_rows
from bot.privacy.store.deletion import OldPicture
from bot.storage import data_files, inputs, jobs, orphans
from bot.storage.database import Database

EVERY = 3600.0
"""Seconds between two looks."""

DAY = 86400.0
"""Whatever the rules say, a picture is kept so long (in seconds)."""

BATCH = 100
"""Pictures that are swept in one transaction."""

MUCH = 10
MUCH_SHARE = 0.1
"""While the clock is doubted, no more pictures than this, or than this share of all, are swept by age."""

_PAGE = 500

Disk = Callable[[Path], Awaitable[tuple[int, int]]]
"""Tells a disk's size and how much of it is free, in bytes."""

log = logging.getLogger(__name__)


class RetentionWorker:
    """Looks at start and every hour. What was swept is only out of the rows first, then out of the folder."""

    def __init__(
        self, db: Database, folder: Path, clock: Clock, *, free_percent: float = 0.0, disk: Disk = data_files.disk_usage
    ) -> None:
        """Args:
        db: Where the rows are.
        folder: Where pictures are kept.
        clock: Time.
        free_percent: How much of the disk shall stay free, 0 to 100; 0 turns that off.
        disk: Measures the disk.
        """
        self._db = db
        self._folder = folder
        self._clock = clock
        self._free_percent = free_percent
        self._disk = disk
        self._timekeeping = ClockTrust(db, clock)
        self._told = False

    async def run(self) -> None:
        """Work until it is cancelled."""
        ran = 0.0
        while True:
            try:
                await self.sweep(ran)
            except Unavailable as e:
                log.warning("old pictures could not be looked at (%s); again in an hour", e.key)
            except Exception:  # the service goes on without
                log.exception("old pictures could not be looked at; again in an hour")
            await self._clock.sleep(EVERY)
            ran = EVERY

    async def sweep(self, ran: float = 0.0) -> int:
        """Sweep once; returns how many pictures went.

        Args:
            ran: Seconds that this process has slept since it swept last; 0 for the first time.

        Raises:
            Unavailable: The database can't be used.
            OSError: The disk can't be measured.
        """
        belief = await self._timekeeping.look(ran)
        by_rule = await self._by_rule(belief)
        by_disk = await self._by_disk(belief)
        if not belief.held:
            await asyncio.to_thread(orphans.purge_quarantine, inputs.data_folder(self._folder), belief.now)
        if by_rule or by_disk:
            log.info("swept %d pictures by the places' rules, %d because the disk is full", by_rule, by_disk)
        return by_rule + by_disk

    async def _by_rule(self, belief: TrustedTime) -> int:
        async with self._db.read() as tx:
            rules = await retention_rows.retention_days(tx)
        if not rules:
            return 0
        if belief.held:
            self._tell(belief)
            return 0
        swept, held = 0, list[OldPicture]()
        before = belief.now - max(DAY, min(rules.values()) * DAY)
        cursor = (0.0, 0)
        # One walk for all rules, page by page, so that nobody waits for it.
        while page := await self._page(before, cursor, _PAGE):
            cursor = (page[-1].created_at, page[-1].id)
            over = [old for old in page if old.created_at < belief.now - max(DAY, _kept(rules, old.place_id) * DAY)]
            if belief.doubted:
                held += over
                continue
            swept += await self._unkeep_all(over)
        if held and await self._is_much(len(held)):
            self._tell(belief)
            return 0
        self._told = self._told and belief.doubted
        return swept + await self._unkeep_all(held)

    async def _unkeep_all(self, over: Sequence[OldPicture]) -> int:
        return sum([await self._unkeep(over[start : start + BATCH]) for start in range(0, len(over), BATCH)])

    async def _is_much(self, over: int) -> bool:
        """Whether the number of pictures is larger than on a usual day."""
        async with self._db.read() as tx:
            return over > max(MUCH, MUCH_SHARE * await retention_rows.count_pictures(tx))

    def _tell(self, belief: TrustedTime) -> None:
        """Say once that nothing is removed by age."""
        if not self._told:
            self._told = True
            log.warning(
                "THE CLOCK IS %.1f DAYS AHEAD of the last thing that this Easel knows of: it may be wrong, so pictures"
                " are not removed by their age until the service has run for %d hours",
                belief.ahead / DAY,
                CONFIRMED_AFTER // 3600,
            )

    async def _by_disk(self, belief: TrustedTime) -> int:
        if not self._free_percent:
            return 0
        swept, cursor = 0, (0.0, 0)
        before = belief.now - DAY
        if await self._is_full():
            # What no row knows goes before what somebody may still look at.
            await asyncio.to_thread(orphans.purge_quarantine, inputs.data_folder(self._folder), belief.now, kept=DAY)
        while await self._is_full():
            page = await self._page(before, cursor, BATCH)
            if not page:
                log.warning("less than %g %% of the disk is free, and no picture is left to sweep", self._free_percent)
                break
            cursor = (page[-1].created_at, page[-1].id)
            swept += await self._unkeep(page)
        return swept

    async def _is_full(self) -> bool:
        try:
            total, free = await self._disk(self._folder)
        except FileNotFoundError:
            return False  # nothing was painted yet
        return free < total * self._free_percent / 100

    async def _page(self, before: float, after: tuple[float, int], limit: int) -> tuple[OldPicture, ...]:
        async with self._db.read() as tx:
            return await retention_rows.old_pictures(tx, before=before, after=after, limit=limit)

    async def _unkeep(self, over: Iterable[OldPicture]) -> int:
        async with self._db.write() as tx:
            gone = await retention_rows.delete_pictures(
                tx, self._folder.name, list(dict.fromkeys(old.job_id for old in over))
            )
        await data_files.remove_pictures(self._folder, gone.pictures)
        if gone.inputs:
            # In a writing transaction, so that no job that names one of them comes in meanwhile.
            async with self._db.write(alone=True) as tx:
                named = await jobs.source_files(tx)
                await inputs.remove(self._folder, [name for name in gone.inputs if name not in named])
        return len(gone.pictures)


def _kept(rules: Mapping[int, float], place_id: int | None) -> float:
    """Days for which a place's pictures are kept: its own rule can only shorten the service's."""
    service = rules.get(0, math.inf)
    return service if place_id is None else min(service, rules.get(place_id, math.inf))
