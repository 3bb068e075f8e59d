"""The system's clock."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress


class SystemClock:
    """Implements ``bot.core.ports.Clock``."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Wait this many seconds, or until the event is set."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
