"""Holds an engine between two steps for as long as a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class StepGate:
    """``FakeEngine``'s pause: lets as many steps through as it is told, or all once it is open."""

    def __init__(self) -> None:
        self._steps = asyncio.Semaphore(0)
        self._open = False
        self.reached = 0
        """Steps that were begun."""

    async def __call__(self) -> None:
        self.reached += 1
        if not self._open:
            await self._steps.acquire()
        await asyncio.sleep(0)

    def let(self, steps: int) -> None:
        """Let so many steps through."""
        for _ in range(steps):
            self._steps.release()

    def open(self) -> None:
        """Let everything through from now on."""
        self._open = True
        self.let(1000)

    def shut(self) -> None:
        """Let nothing more through."""
        self._open = False
        self._steps = asyncio.Semaphore(0)

    def further(self) -> Callable[[], bool]:
        """Return a condition: another step is reached than the last one when this was asked."""
        before = self.reached
        return lambda: self.reached > before
