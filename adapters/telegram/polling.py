"""Long polling: reads a bot's updates by getUpdates, and confirms those that are saved."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from aiogram import Bot
from aiogram.methods import TelegramMethod
from aiogram.types import Update

from adapters.telegram.client import ApiRetrier, PollingOptions
from adapters.telegram.updates import KINDS, UpdateHandler, UpdateScheduler, is_urgent, read_update

PAGE = 100
"""Most updates in one answer (https://core.telegram.org/bots/api#getupdates)."""

_SHARE = PAGE // 10
_FIRST_LOOK, _LAST_LOOK = 0.1, 1.0


class _GetUpdates(TelegramMethod[list[Any]]):
    """``getUpdates``. aiogram's own rejects all updates for one field of one, and reads repeated ones again."""

    __returning__ = list[Any]
    __api_method__ = "getUpdates"

    offset: int | None
    timeout: int
    allowed_updates: list[str]


class Polling:
    """Reads a bot's updates.

    Args:
        bot: The API client.
        handler: Handles an update until it is saved.
        retrier: Repeats calls until Telegram answers.
        options: Pauses.
    """

    def __init__(self, bot: Bot, handler: UpdateHandler, retrier: ApiRetrier, options: PollingOptions) -> None:
        self._bot = bot
        self._handler = handler
        self._retrier = retrier
        self._options = options
        self._window = UpdateWindow()
        self._turns = UpdateScheduler(self._handle)

    async def run(self) -> None:
        """Read until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                fresh = self._read_new(await self._retrier.persist(self._fetch))
                # Presses first: their people are waiting at the screen.
                for update in sorted(fresh, key=lambda update: not is_urgent(update)):
                    self._handler.arrived(update)
                    self._turns.begin(update, group)
                await self._window.ready()

    async def _fetch(self) -> list[Any]:
        return await self._bot(
            _GetUpdates(offset=self._window.offset, timeout=self._options.poll, allowed_updates=KINDS),
            request_timeout=self._options.poll + self._options.answer,
        )

    def _read_new(self, found: list[Any]) -> list[Update]:
        """Read the updates that have not come before; Telegram repeats those that are not confirmed."""
        fresh = []
        for raw in found:
            update_id = raw.get("update_id") if isinstance(raw, dict) else None
            if isinstance(update_id, int) and self._window.begin(update_id):
                update = read_update(raw, self._bot)
                assert update is not None, "it has an id"
                fresh.append(update)
        return fresh

    async def _handle(self, update: Update) -> None:
        await self._handler.handle(update, lambda: self._window.crowded)
        self._window.finish(update.update_id)


class UpdateWindow:
    """Tracks the offset of the next request.

    A request with an offset confirms all earlier updates, so they must be finished.

    Attributes:
        offset: The oldest update that is not finished, or the one after the last; None before the first answer.
    """

    def __init__(self) -> None:
        self.offset: int | None = None
        self._finished: dict[int, bool] = {}  # in the order of arrival
        # A response in flight repeats updates that were finished meanwhile. Ids may restart after a week, so they are
        # not compared with the offset.
        self._confirmed: deque[int] = deque(maxlen=2 * PAGE)
        self._passed = 0
        self._pause = _FIRST_LOOK
        self._moved = asyncio.Event()

    def begin(self, update_id: int) -> bool:
        """Record a received update; returns False if it was received before."""
        if update_id in self._finished or update_id in self._confirmed:
            return False
        self._finished[update_id] = False
        if self.offset is None:
            self.offset = update_id
        self._pause = _FIRST_LOOK
        return True

    def finish(self, update_id: int) -> None:
        """Record that an update is handled and saved."""
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
        """Whether the unfinished updates nearly fill what Telegram returns, so that no new ones may come."""
        return len(self._finished) > PAGE // 2

    async def ready(self) -> None:
        """Wait until another request may return new updates.

        While updates are unfinished, Telegram answers at once and repeats them. The next request is made when a tenth
        of a page is finished, or after a pause.
        """
        if self._finished and self._passed < _SHARE:
            try:
                async with asyncio.timeout(self._pause):
                    await self._moved.wait()
            except TimeoutError:
                self._pause = min(_LAST_LOOK, self._pause * 2)
        self._moved.clear()
        self._passed = 0
