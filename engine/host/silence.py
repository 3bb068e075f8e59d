"""A limit on silence that can change while somebody waits for the next message."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class SilenceLimit:
    """Limits how long a wait may take. One task at a time may wait."""

    def __init__(self) -> None:
        self._deadline: float | None = None
        self._timeout: asyncio.Timeout | None = None

    def expect_within(self, seconds: float | None) -> None:
        """Set how long the silence may last from now on; None: for ever. Applies to a wait that has begun, too."""
        self._deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(self._deadline)

    async def limit(self, wait: Awaitable[T]) -> T:
        """Return the result of ``wait``. Raises TimeoutError if the silence lasts too long."""
        try:
            async with asyncio.timeout_at(self._deadline) as self._timeout:
                return await wait
        finally:
            self._timeout = None
