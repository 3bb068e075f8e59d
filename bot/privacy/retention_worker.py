"""Deletes old pictures: by the retention of each place, and when the disk is nearly full."""

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
from bot.storage import data_files, inputs, orphans
from bot.storage.database import Database

INTERVAL = 3600.0
"""Seconds between two sweeps."""

DAY = 86400.0
"""Minimum age of a deleted picture in seconds, whatever the rules say."""

BATCH = 100
"""Pictures that are deleted in one transaction."""

MAX_DOUBTED = 10
MAX_DOUBTED_SHARE = 0.1
"""While the clock is doubted, at most this many pictures, or this share of all, are deleted by age."""

_PAGE = 500

Disk = Callable[[Path], Awaitable[tuple[int, int]]]
"""Returns the size and the free space of a folder's file system, in bytes."""

log = logging.getLogger(__name__)


class RetentionWorker:
    """Sweeps at the start and every hour. Rows are deleted before their files."""

    def __init__(
        self, db: Database, folder: Path, clock: Clock, *, free_percent: float = 0.0, disk: Disk = data_files.disk_usage
    ) -> None:
        """Args:
        db: The database.
        folder: The pictures folder.
        clock: Time source.
        free_percent: Share of the disk to keep free, 0 to 100; 0: no limit.
        disk: Measures the disk.
        """
        self._db = db
        self._folder = folder
        self._clock = clock
        self._free_percent = free_percent
        self._disk = disk
        self._clock_trust = ClockTrust(db, clock)
        self._warned = False

    async def run(self) -> None:
        """Sweep until cancelled."""
        ran = 0.0
        while True:
            try:
                await self.sweep(ran)
            except Unavailable as e:
                log.warning("old pictures could not be deleted (%s); trying again in an hour", e.key)
            except Exception:  # the service goes on
                log.exception("old pictures could not be deleted; trying again in an hour")
            await self._clock.sleep(INTERVAL)
            ran = INTERVAL

    async def sweep(self, ran: float = 0.0) -> int:
        """Sweep once; return the number of deleted pictures.

        Args:
            ran: Seconds since the last sweep; 0 for the first one.

        Raises:
            Unavailable: The database can't be used.
            OSError: The disk can't be measured.
        """
        trusted = await self._clock_trust.check(ran)
        by_rule = await self._by_rule(trusted)
        by_disk = await self._by_disk(trusted)
        if not trusted.paused:
            await asyncio.to_thread(orphans.purge_quarantine, inputs.data_folder(self._folder), trusted.now)
        if by_rule or by_disk:
            log.info(
                "deleted %d pictures by the places' retention, %d because the disk is nearly full", by_rule, by_disk
            )
        return by_rule + by_disk

    async def _by_rule(self, trusted: TrustedTime) -> int:
        async with self._db.read() as tx:
            rules = await retention_rows.retention_days(tx)
        if not rules:
            return 0
        if trusted.paused:
            self._warn(trusted)
            return 0
        deleted, doubtful = 0, list[OldPicture]()
        before = trusted.now - max(DAY, min(rules.values()) * DAY)
        cursor = (0.0, 0)
        # One pass for all rules, page by page, so that other readers are not blocked.
        while page := await self._page(before, cursor, _PAGE):
            cursor = (page[-1].created_at, page[-1].id)
            over = [
                old for old in page if old.created_at < trusted.now - max(DAY, _retention_of(rules, old.place_id) * DAY)
            ]
            if trusted.doubted:
                doubtful += over
                continue
            deleted += await self._delete_all(over)
        if doubtful and await self._is_unusual(len(doubtful)):
            self._warn(trusted)
            return 0
        self._warned = self._warned and trusted.doubted
        return deleted + await self._delete_all(doubtful)

    async def _delete_all(self, over: Sequence[OldPicture]) -> int:
        return sum([await self._delete(over[start : start + BATCH]) for start in range(0, len(over), BATCH)])

    async def _is_unusual(self, over: int) -> bool:
        """Whether this is more than is usually deleted in a day."""
        async with self._db.read() as tx:
            return over > max(MAX_DOUBTED, MAX_DOUBTED_SHARE * await retention_rows.count_pictures(tx))

    def _warn(self, trusted: TrustedTime) -> None:
        """Log once that nothing is deleted by age."""
        if not self._warned:
            self._warned = True
            log.warning(
                "THE CLOCK IS %.1f DAYS AHEAD of the last known time and may be wrong: no picture is deleted by age until"
                " the service has run for %d hours",
                trusted.ahead / DAY,
                CONFIRMED_AFTER // 3600,
            )

    async def _by_disk(self, trusted: TrustedTime) -> int:
        if not self._free_percent:
            return 0
        deleted, cursor = 0, (0.0, 0)
        before = trusted.now - DAY
        if await self._is_full():
            # Orphans go before pictures that people can still see.
            await asyncio.to_thread(orphans.purge_quarantine, inputs.data_folder(self._folder), trusted.now, after=DAY)
        while await self._is_full():
            page = await self._page(before, cursor, BATCH)
            if not page:
                log.warning(
                    "less than %g %% of the disk is free, and no picture is old enough to be deleted",
                    self._free_percent,
                )
                break
            cursor = (page[-1].created_at, page[-1].id)
            deleted += await self._delete(page)
        return deleted

    async def _is_full(self) -> bool:
        try:
            total, free = await self._disk(self._folder)
        except FileNotFoundError:
            return False  # no picture was drawn yet
        return free < total * self._free_percent / 100

    async def _page(self, before: float, after: tuple[float, int], limit: int) -> tuple[OldPicture, ...]:
        async with self._db.read() as tx:
            return await retention_rows.old_pictures(tx, before=before, after=after, limit=limit)

    async def _delete(self, over: Iterable[OldPicture]) -> int:
        async with self._db.write() as tx:
            removed = await retention_rows.delete_pictures(
                tx, self._folder.name, list(dict.fromkeys(old.job_id for old in over))
            )
        await data_files.remove_pictures(self._folder, removed.pictures)
        await retention_rows.remove_source_files(self._db, self._folder, removed.inputs)
        return len(removed.pictures)


def _retention_of(rules: Mapping[int, float], place_id: int | None) -> float:
    """Return a place's retention in days: its own rule can only shorten the service's."""
    service = rules.get(0, math.inf)
    return service if place_id is None else min(service, rules.get(place_id, math.inf))
