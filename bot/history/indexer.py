"""Beside everything else: indexes what was drawn before there was an index, and merges away what was removed from it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from bot.core.errors import Unavailable
from bot.core.ports import Clock
from bot.history import store as history_rows
from bot.storage.database import Database, Tx

LOOK_SECONDS = 3600.0
"""Between two looks for something to merge away."""

_REST_SECONDS = 0.02
"""After each transaction, so that others come in between: indexing a million old jobs takes minutes, admission goes on."""

_PAUSE_SECONDS = 30.0
"""After the database could not be written."""

log = logging.getLogger(__name__)


async def run_indexer(db: Database, clock: Clock) -> None:
    """Work for ever; cancel it to end. What it has done is in the rows, and the next start goes on with the rest."""
    while True:
        try:
            indexed = await _all(db, clock, history_rows.index_batch)
            if indexed:
                log.info("the history from before is indexed")
            await _all(db, clock, history_rows.merge_batch)
        except Unavailable as e:
            # The database says once itself what is wrong with it; this may go on for hours.
            log.debug("the history can't be indexed now (%s)", e.key)
            await clock.sleep(_PAUSE_SECONDS)
        else:
            await clock.sleep(LOOK_SECONDS)


async def _all(db: Database, clock: Clock, some: Callable[[Tx], Awaitable[bool]]) -> bool:
    """Do some until there is no more; returns whether there was more than one piece of it."""
    more = False
    while True:
        # Looked at first without a lock: almost always nothing is left to do.
        async with db.read() as tx:
            if not await history_rows.has_unindexed(tx):
                return more
        async with db.write() as tx:
            if not await some(tx):
                return more
        more = True
        await clock.sleep(_REST_SECONDS)
