"""Long polling that confirms an update only after its handler has saved it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiogram import Bot, Dispatcher
from aiogram.exceptions import ClientDecodeError
from aiogram.types import Update
from pydantic import ValidationError

from adapters.telegram.client import ApiRetrier, PollingOptions
from adapters.telegram.updates import UpdateScheduler, UpdateWindow
from bot.core.errors import Unavailable

log = logging.getLogger(__name__)

KINDS = ["message", "callback_query"]
"""The kinds of updates that are requested."""


class Polling:
    """Reads a bot's updates.

    Args:
        bot: The API client.
        dispatcher: Its handlers return once everything is saved. They raise Unavailable while the database can't be
            written; any other exception is a failure.
        apologise: Tells the sender of an update about its failure: the database's error, or None for any other.
        retrier: Repeats calls until Telegram answers.
        options: Pauses.
    """

    def __init__(
        self,
        bot: Bot,
        dispatcher: Dispatcher,
        apologise: Callable[[Update, Unavailable | None], None],
        retrier: ApiRetrier,
        options: PollingOptions,
    ) -> None:
        self._bot = bot
        self._dispatcher = dispatcher
        self._apologise = apologise
        self._retrier = retrier
        self._options = options
        self._window = UpdateWindow()
        self._turns = UpdateScheduler(self._handle)

    async def run(self) -> None:
        """Read until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                updates = await self._retrier.call(self._fetch)
                fresh = [update for update in updates if self._window.begin(update.update_id)]
                # Presses first: their people are waiting at the screen.
                for update in sorted(fresh, key=lambda update: update.callback_query is None):
                    self._turns.begin(update, group)
                await self._window.ready()

    async def _fetch(self) -> list[Update]:
        try:
            return await self._bot.get_updates(
                offset=self._window.offset,
                timeout=self._options.poll,
                allowed_updates=KINDS,
                request_timeout=self._options.poll + self._options.answer,
            )
        except ClientDecodeError as error:
            if readable := self._readable(error):
                return readable
            raise

    def _readable(self, error: ClientDecodeError) -> list[Update]:
        """Return the updates of a response that the library rejects as a whole; unreadable ones have nothing but an id."""
        if not isinstance(error.data, dict) or not isinstance(error.data.get("result"), list):
            return []
        updates = []
        for raw in error.data["result"]:
            try:
                updates.append(Update.model_validate(raw, context={"bot": self._bot}))
            except ValidationError as unreadable:
                if not isinstance(raw, dict) or not isinstance(raw.get("update_id"), int):
                    continue
                log.warning(
                    "update %d can't be read and is passed over: %d of its fields are not as the library knows them",
                    raw["update_id"],
                    unreadable.error_count(),
                )
                updates.append(Update(update_id=raw["update_id"]))
        return updates

    async def _handle(self, update: Update) -> None:
        """Handle one update. It stays unconfirmed only while the database can't be written."""
        backoff = self._options.failing()
        while any(getattr(update, kind) for kind in KINDS):
            try:
                await self._dispatcher.feed_update(self._bot, update)
            except Unavailable as error:
                first, pause = not backoff.tries, backoff.fail()
                log.warning("update %d can't be saved (%s); again in %.1f s", update.update_id, error.key, pause)
                if first:
                    self._apologise(update, error)
                elif self._window.crowded:
                    break  # the sender was told; make room for later updates
                await asyncio.sleep(pause)
            except Exception:
                log.exception("update %d failed and is passed over", update.update_id)
                self._apologise(update, None)
                break
            else:
                break
        self._window.finish(update.update_id)
