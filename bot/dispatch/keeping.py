"""Sweeps pictures that shall not be kept any longer: by each place's rule, and when the disk gets full."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

from bot.ports import Clock
from bot.store import blobs, inputs, jobs, retention
from bot.store.database import Database
from bot.store.retention import Old

EVERY = 3600.0
"""Seconds between two looks."""

DAY = 86400.0
"""Whatever the rules say, a picture is kept so long (in seconds)."""

BATCH = 100
"""Pictures that are swept in one transaction."""

_PAGE = 500

Disk = Callable[[Path], Awaitable[tuple[int, int]]]
"""Tells a disk's size and how much of it is free, in bytes."""

log = logging.getLogger(__name__)


class Keeping:
    """Looks at start and every hour. What was swept is only out of the rows first, then out of the folder."""

    def __init__(
        self, db: Database, folder: Path, clock: Clock, *, free_percent: float = 0.0, disk: Disk = blobs.disk
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

    async def run(self) -> None:
        """Work until it is cancelled."""
        while True:
            try:
                await self.sweep()
            except Exception:  # the service goes on without
                log.exception("old pictures could not be looked at; again in an hour")
            await self._clock.sleep(EVERY)

    async def sweep(self) -> int:
        """Sweep once; returns how many pictures went.

        Raises:
            Unavailable: The database can't be used.
            OSError: The disk can't be measured.
        """
        by_rule = await self._by_rule()
        by_disk = await self._by_disk()
        if by_rule or by_disk:
            log.info("swept %d pictures by the places' rules, %d because the disk is full", by_rule, by_disk)
        return by_rule + by_disk

    async def _by_rule(self) -> int:
        async with self._db.read() as tx:
            rules = await retention.rules(tx)
        if not rules:
            return 0
        now = self._clock.now()
        swept, cursor = 0, (0.0, 0)
        before = now - max(DAY, min(rules.values()) * DAY)
        # One walk for all rules, page by page, so that nobody waits for it.
        while page := await self._page(before, cursor, _PAGE):
            cursor = (page[-1].created_at, page[-1].id)
            over = [old for old in page if old.created_at < now - max(DAY, _kept(rules, old.place_id) * DAY)]
            for start in range(0, len(over), BATCH):
                swept += await self._unkeep(over[start : start + BATCH])
        return swept

    async def _by_disk(self) -> int:
        if not self._free_percent:
            return 0
        swept, cursor = 0, (0.0, 0)
        before = self._clock.now() - DAY
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

    async def _page(self, before: float, after: tuple[float, int], limit: int) -> tuple[Old, ...]:
        async with self._db.read() as tx:
            return await retention.oldest(tx, before=before, after=after, limit=limit)

    async def _unkeep(self, over: Iterable[Old]) -> int:
        async with self._db.write() as tx:
            gone = await retention.unkeep(tx, self._folder.name, list(dict.fromkeys(old.job_id for old in over)))
        await blobs.remove_all(self._folder, gone.pictures)
        if gone.inputs:
            # In a writing transaction, so that no job that names one of them comes in meanwhile.
            async with self._db.write() as tx:
                named = await jobs.starts(tx)
                await inputs.remove(self._folder, [name for name in gone.inputs if name not in named])
        return len(gone.pictures)


def _kept(rules: Mapping[int, float], place_id: int | None) -> float:
    """Days for which a place's pictures are kept: its own rule can only shorten the service's."""
    service = rules.get(0, math.inf)
    return service if place_id is None else min(service, rules.get(place_id, math.inf))
