"""Retries writes that must not be lost while the database can't be written."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from bot.core.errors import Unavailable
from bot.core.ports import Clock
from bot.core.waits import ExponentialBackoff

T = TypeVar("T")

_FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""First and longest pause between two attempts, in seconds."""

log = logging.getLogger(__name__)


async def persist(
    work: Callable[[], Awaitable[T]], clock: Clock, waits: Callable[[bool], None] = lambda _waiting: None
) -> T:
    """Run a transaction, and retry it as long as the database can't be written. Cancel it to give up.

    Args:
        work: The transaction.
        clock: Time source.
        waits: Called with True before the first pause, and with False at the end.
    """
    backoff = ExponentialBackoff(_FIRST_PAUSE, LONGEST_PAUSE)
    said = ""
    try:
        while True:
            try:
                return await work()
            except Unavailable as e:
                if e.key != said:
                    # Once for each reason: many transactions may wait for hours.
                    said = e.key
                    log.warning("the database can't be written (%s); retrying until it can", e.key)
                    waits(True)
                await clock.sleep(backoff.fail())
    finally:
        if said:
            waits(False)
