"""A clock that a test moves."""

from __future__ import annotations

import asyncio


class FakeClock:
    """Implements ``bot.core.ports.Clock``; time passes only by ``advance``."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._wall = now
        self._ran = 1000.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now(self) -> float:
        return self._wall

    def monotonic(self) -> float:
        return self._ran

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        sleeper = (self._ran + seconds, asyncio.Event())
        self._sleepers.append(sleeper)
        try:
            await sleeper[1].wait()
        finally:
            self._sleepers.remove(sleeper)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        tasks = {asyncio.ensure_future(self.sleep(seconds)), asyncio.ensure_future(event.wait())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def advance(self, seconds: float) -> None:
        """Let this time pass, and wake the sleepers whose time is over."""
        self._wall += seconds
        self._ran += seconds
        for at, event in self._sleepers:
            if at <= self._ran:
                event.set()

    def jump(self, seconds: float) -> None:
        """Change the wall clock by this many seconds (may be negative); no time passes."""
        self._wall += seconds

    def asleep(self) -> int:
        """Return the number of sleepers."""
        return len(self._sleepers)
