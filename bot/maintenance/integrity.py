"""Looks at start and now and then whether the database is whole: a service must not go on without a word where it is not."""

from __future__ import annotations

import logging

from bot.core.ports import Clock
from bot.maintenance.store import check
from bot.storage.database import Database

EVERY = 6 * 3600.0
"""Seconds between two looks: each reads the whole file."""

log = logging.getLogger(__name__)


async def keep_checked(db: Database, clock: Clock) -> None:
    """Look until cancelled; what is found is logged, and told by ``Database.probe``."""
    while True:
        try:
            db.found_damaged(await check.verdict(db.path))
        except Exception:  # the service goes on without
            log.exception("the database could not be checked; again in %g h", EVERY / 3600)
        await clock.sleep(EVERY)
