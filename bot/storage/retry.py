"""Writes that must not be given up at the first fault, since what they say is known nowhere else."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from bot.core.errors import Unavailable
from bot.core.ports import Clock

T = TypeVar("T")

LONGEST_PAUSE = 30.0
"""Seconds between two tries."""

log = logging.getLogger(__name__)


async def persist(
    work: Callable[[], Awaitable[T]], clock: Clock, waits: Callable[[bool], None] = lambda _waiting: None
) -> T:
    """Do this transaction, again and again while the database is locked or the disk is full. Cancel it to give up.

    Args:
        work: The transaction.
        clock: Time.
        waits: Called with True when it has to wait, and with False when that is over.
    """
    pause = 0.5
    said = ""
    try:
        while True:
            try:
                return await work()
            except Unavailable as e:
                if e.key != said:
                    # Once for each reason: many may wait, for hours.
                    said = e.key
                    log.warning("the database can't be written (%s); this is tried until it can", e.key)
                    waits(True)
                await clock.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
    finally:
        if said:
            waits(False)
