"""Writes that must not be given up at the first fault, since what they say is known nowhere else."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from bot.core.errors import Unavailable
from bot.core.ports import Clock
from bot.core.waits import ExponentialBackoff

T = TypeVar("T")

_FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""First and longest pause between two tries, in seconds."""

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
    backoff = ExponentialBackoff(_FIRST_PAUSE, LONGEST_PAUSE)
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
                await clock.sleep(backoff.fail())
    finally:
        if said:
            waits(False)
