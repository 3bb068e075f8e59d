"""Blocks the fake engine between two steps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class StepGate:
    """A pause for ``FakeEngine``: lets a number of steps pass, or all while it is open."""

    def __init__(self) -> None:
        self._steps = asyncio.Semaphore(0)
        self._open = False
        self.reached = 0
        """Number of steps that have begun."""

    async def __call__(self) -> None:
        self.reached += 1
        if not self._open:
            await self._steps.acquire()
        await asyncio.sleep(0)

    def let(self, steps: int) -> None:
        """Let this number of steps pass."""
        for _ in range(steps):
            self._steps.release()

    def open(self) -> None:
        """Let all steps pass from now on."""
        self._open = True
        self.let(1000)

    def shut(self) -> None:
        """Block all further steps."""
        self._open = False
        self._steps = asyncio.Semaphore(0)

    def further(self) -> Callable[[], bool]:
        """Return a condition: a step has begun since this call."""
        before = self.reached
        return lambda: self.reached > before
