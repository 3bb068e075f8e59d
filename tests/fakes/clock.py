"""Time that a test holds in its hand."""

from __future__ import annotations

import asyncio


class FakeClock:
    """Stands still until ``advance``; obeys ``bot.ports.Clock``."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._now = now
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        sleeper = (self._now + seconds, asyncio.Event())
        self._sleepers.append(sleeper)
        try:
            await sleeper[1].wait()
        finally:
            self._sleepers.remove(sleeper)

    def advance(self, seconds: float) -> None:
        """Let so much time pass, and wake whoever slept for it."""
        self._now += seconds
        for at, event in self._sleepers:
            if at <= self._now:
                event.set()

    def asleep(self) -> int:
        """How many sleep."""
        return len(self._sleepers)
