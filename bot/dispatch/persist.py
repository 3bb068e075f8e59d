"""Writes that must not be given up at the first fault, since what they say is known nowhere else."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from bot.model.errors import Unavailable
from bot.ports import Clock

T = TypeVar("T")

LONGEST_PAUSE = 30.0
"""Seconds between two tries."""

log = logging.getLogger(__name__)


async def persist(work: Callable[[], Awaitable[T]], clock: Clock) -> T:
    """Do this transaction, again and again while the database is locked or the disk is full. Cancel it to give up."""
    pause = 0.5
    while True:
        try:
            return await work()
        except Unavailable as e:
            log.warning("the database can't be written (%s); again in %g s", e.key, pause)
            await clock.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)
