"""Background work on the search index: indexes old jobs, and merges removed entries away."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from bot.core.errors import Unavailable
from bot.core.ports import Clock
from bot.history import store as history_rows
from bot.storage.database import Database, Tx

MERGE_INTERVAL = 3600.0
"""Seconds between two merges."""

_REST_SECONDS = 0.02
"""Pause in seconds after each transaction, for other writers: indexing a million old jobs takes minutes."""

_PAUSE_SECONDS = 30.0
"""Pause in seconds after the database could not be written."""

log = logging.getLogger(__name__)


async def run_indexer(db: Database, clock: Clock) -> None:
    """Work until cancelled. Progress is in the rows: the next start goes on with the rest."""
    while True:
        try:
            indexed = await _all(db, clock, history_rows.index_batch)
            if indexed:
                log.info("all old jobs are indexed")
            await _all(db, clock, history_rows.merge_batch)
        except Unavailable as e:
            # The database logs the problem itself, once; it may last for hours.
            log.debug("the history can't be indexed now (%s)", e.key)
            await clock.sleep(_PAUSE_SECONDS)
        else:
            await clock.sleep(MERGE_INTERVAL)


async def _all(db: Database, clock: Clock, some: Callable[[Tx], Awaitable[bool]]) -> bool:
    """Run batches until nothing is left; return whether there was more than one."""
    more = False
    while True:
        # Check first without the write lock: almost always nothing is left.
        async with db.read() as tx:
            if not await history_rows.has_unindexed(tx):
                return more
        async with db.write() as tx:
            if not await some(tx):
                return more
        more = True
        await clock.sleep(_REST_SECONDS)
