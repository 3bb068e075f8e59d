"""The updates that Telegram has told and that are not confirmed yet."""

from __future__ import annotations

import asyncio
from collections import deque

PAGE = 100
"""Most updates in one answer (https://core.telegram.org/bots/api#getupdates)."""
_SHARE = PAGE // 10
_FIRST_LOOK, _LAST_LOOK = 0.1, 1.0


class Window:
    """Knows from which update on to ask. Asking for an update confirms all before it: only finished ones may be before it.

    Attributes:
        offset: The oldest update that is not finished, or the one after the last; None before the first answer.
    """

    def __init__(self) -> None:
        self.offset: int | None = None
        self._finished: dict[int, bool] = {}  # in the order in which Telegram told them
        # An answer that was under way when an update was finished tells that update once more. Ids may begin anew
        # after a week, so they are not compared with the offset.
        self._confirmed: deque[int] = deque(maxlen=2 * PAGE)
        self._passed = 0
        self._pause = _FIRST_LOOK
        self._moved = asyncio.Event()

    def begin(self, update_id: int) -> bool:
        """Note an update that was told; returns whether it is to be handled: it was not told before."""
        if update_id in self._finished or update_id in self._confirmed:
            return False
        self._finished[update_id] = False
        if self.offset is None:
            self.offset = update_id
        self._pause = _FIRST_LOOK
        return True

    def finish(self, update_id: int) -> None:
        """Everything that an update asks for is saved."""
        self._finished[update_id] = True
        for oldest in list(self._finished):
            if not self._finished[oldest]:
                break
            del self._finished[oldest]
            self._confirmed.append(oldest)
            self.offset = oldest + 1
            self._passed += 1
        if not self._finished or self._passed >= _SHARE:
            self._moved.set()

    @property
    def crowded(self) -> bool:
        """Whether so much is unfinished that Telegram may soon tell nothing new."""
        return len(self._finished) > PAGE // 2

    async def ready(self) -> None:
        """Wait until asking again may tell something new.

        While updates are unfinished, Telegram answers at once and repeats them: it is asked when a part of the answer is
        finished, or after a pause.
        """
        if self._finished and self._passed < _SHARE:
            try:
                async with asyncio.timeout(self._pause):
                    await self._moved.wait()
            except TimeoutError:
                self._pause = min(_LAST_LOOK, self._pause * 2)
        self._moved.clear()
        self._passed = 0
