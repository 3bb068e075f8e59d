"""An asyncio.Event that says whether somebody waits for it."""

from __future__ import annotations

import asyncio
from typing import Literal


class WatchedEvent(asyncio.Event):
    """Stands in for a loop's wake-up event, so that a test sees when the loop has nothing left to do."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting = 0

    async def wait(self) -> Literal[True]:
        """Block until the event is set."""
        self._waiting += 1
        try:
            return await super().wait()
        finally:
            self._waiting -= 1

    @property
    def idle(self) -> bool:
        """Whether a task waits, and nothing has woken it."""
        return self._waiting > 0 and not self.is_set()
