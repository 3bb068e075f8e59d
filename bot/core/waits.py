"""Waiting: exponential back-off, and a sleep that an event can end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from bot.core.ports import Clock


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


async def until(event: asyncio.Event, seconds: float, clock: Clock) -> None:
    """Wait this long, or until the event is set."""
    tasks = {asyncio.ensure_future(clock.sleep(seconds)), asyncio.ensure_future(event.wait())}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
