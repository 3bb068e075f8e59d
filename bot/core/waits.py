"""Waits: back-off, a rate limit, retried writes, and work shielded from cancellation."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from bot.core.errors import Unavailable
from bot.core.ports import Clock

T = TypeVar("T")

_FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""First and longest pause between two attempts of ``persist``, in seconds."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class ExponentialBackoff:
    """Exponential back-off of one series of tries.

    Attributes:
        first: The first pause, in seconds.
        longest: The longest pause, in seconds.
        factor: Ratio of each pause to the one before.
        tries: Failures since the last success.
    """

    first: float = 1.0
    longest: float = 60.0
    factor: float = 2.0
    tries: int = 0

    @property
    def pause(self) -> float:
        """The next pause, in seconds."""
        # factor ** tries would overflow a float after many tries.
        pause = self.first
        for _ in range(self.tries):
            pause *= self.factor
            if pause >= self.longest:
                return self.longest
        return min(pause, self.longest)

    def fail(self, at_least: float = 0.0) -> float:
        """Count a failure and return the seconds to wait, at least ``at_least`` (what the other side asked for)."""
        pause = max(self.pause, at_least)
        self.tries += 1
        return pause

    def succeed(self) -> None:
        """Start again with the first pause."""
        self.tries = 0


class TokenBucket:
    """Tells whether more comes than a rate allows."""

    def __init__(self, per_second: float, burst: int) -> None:
        """Args:
        per_second: How many may come each second, in the long run.
        burst: How many more may come at once.
        """
        self._every = 1 / per_second
        self._burst = burst
        # When all so far are paid for, at ``per_second``.
        self._paid_at = -math.inf

    def take(self, now: float, count: int = 1) -> None:
        """Count some that have come. ``now`` is in seconds, by a clock that never goes back."""
        self._paid_at = max(self._paid_at, now) + count * self._every

    def is_empty(self, now: float) -> bool:
        """Whether more have come than the rate allows; ``now`` as in ``take``."""
        return self._paid_at - now > self._burst * self._every


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
    reported = ""
    try:
        while True:
            try:
                return await work()
            except Unavailable as e:
                if e.key != reported:
                    # Once for each reason: many transactions may wait for hours.
                    reported = e.key
                    log.warning("the database can't be written (%s); retrying until it can", e.key)
                    waits(True)
                await clock.sleep(backoff.fail())
    finally:
        if reported:
            waits(False)


async def shield(work: Awaitable[T]) -> T:
    """Await work that must not be interrupted; a cancellation meanwhile is raised after it.

    For steps that belong together, such as a commit and the queue's update. Keep the work short.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as e:
            cancelled = e
    result = task.result()
    if cancelled is not None:
        raise cancelled
    return result
