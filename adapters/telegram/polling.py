"""Long polling that confirms an update only after its handler has saved it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiogram import Bot, Dispatcher
from aiogram.exceptions import ClientDecodeError, TelegramConflictError, TelegramRetryAfter
from aiogram.types import Update
from aiogram.utils.backoff import Backoff, BackoffConfig
from pydantic import ValidationError

from adapters.telegram.faults import REFUSED, UNREACHABLE, sentence
from bot.model.errors import Refusal, Unavailable

log = logging.getLogger(__name__)

LOCKED = "unavailable.database.locked"

KINDS = ["message", "callback_query"]
"""The updates that are asked for."""

_UNREACHABLE = BackoffConfig(min_delay=1.0, max_delay=60.0, factor=2.0, jitter=0.1)
_FAILING = BackoffConfig(min_delay=0.5, max_delay=15.0, factor=2.0, jitter=0.1)


@dataclass(frozen=True, slots=True)
class Patience:
    """How polling waits.

    Attributes:
        poll: How long Telegram may hold a request that has nothing to tell, in whole seconds.
        answer: How much longer its answer may take, in seconds.
        unreachable: Pauses while Telegram can't be reached.
        failing: Pauses between the tries of an update whose handler fails.
        tries: How often such an update is tried before it is given up.
    """

    poll: int = 25
    answer: int = 20
    unreachable: BackoffConfig = _UNREACHABLE
    failing: BackoffConfig = _FAILING
    tries: int = 6


class Polling:
    """One reader of a bot's updates.

    Args:
        bot: The API client.
        dispatcher: Its handlers return once everything is saved, and raise when it is not.
        give_up: Told of an update whose handler kept failing, and of what can't be done where that is known; says so to
            whoever sent it.
        patience: Pauses.
    """

    def __init__(
        self,
        bot: Bot,
        dispatcher: Dispatcher,
        give_up: Callable[[Update, Refusal | None], Awaitable[None]],
        patience: Patience,
    ) -> None:
        self._bot = bot
        self._dispatcher = dispatcher
        self._give_up = give_up
        self._patience = patience

    async def run(self) -> None:
        """Read until cancelled.

        Raises:
            TelegramUnauthorizedError, TelegramNotFound: The token is refused.
            TelegramConflictError: Another program reads this bot's updates.
        """
        offset: int | None = None
        while True:
            for update in await self._fetch(offset):
                await self._handle(update)
                # Asking for what comes after it is what confirms it.
                offset = update.update_id + 1

    async def _fetch(self, offset: int | None) -> list[Update]:
        backoff = Backoff(self._patience.unreachable)
        while True:
            try:
                updates = await self._bot.get_updates(
                    offset=offset,
                    timeout=self._patience.poll,
                    allowed_updates=KINDS,
                    request_timeout=self._patience.poll + self._patience.answer,
                )
            except (*REFUSED, TelegramConflictError):
                raise
            except TelegramRetryAfter as error:
                await asyncio.sleep(error.retry_after)
            except UNREACHABLE as error:
                if isinstance(error, ClientDecodeError) and (readable := self._readable(error)):
                    return readable
                log.warning(
                    "Telegram can't be reached (%s); again in %.0f s",
                    sentence(error, self._bot.token),
                    backoff.next_delay,
                )
                await backoff.asleep()
            else:
                if backoff.counter:
                    log.info("Telegram is reached again")
                return updates

    def _readable(self, error: ClientDecodeError) -> list[Update]:
        """Of updates that the library can't read together, those that it can read, and the others' bare ids."""
        if not isinstance(error.data, dict) or not isinstance(error.data.get("result"), list):
            return []
        updates = []
        for raw in error.data["result"]:
            try:
                updates.append(Update.model_validate(raw, context={"bot": self._bot}))
            except ValidationError:
                log.exception("an update can't be read and is passed over")
                updates.append(Update(update_id=raw["update_id"]))
        return updates

    async def _handle(self, update: Update) -> None:
        if not any(getattr(update, kind) for kind in KINDS):
            return
        backoff = Backoff(self._patience.failing)
        while True:
            try:
                await self._dispatcher.feed_update(self._bot, update)
            except Unavailable as refusal:
                if backoff.counter == 0 and refusal.key == LOCKED:
                    await backoff.asleep()  # another process is done in a moment
                    continue
                # A full disk lasts: trying again would only keep this person, and everybody after them, waiting.
                await self._give_up(update, refusal)
                return
            except Exception:
                if backoff.counter + 1 >= self._patience.tries:
                    log.exception("update %d failed %d times and is given up", update.update_id, self._patience.tries)
                    await self._give_up(update, None)
                    return
                log.exception("update %d could not be saved; again in %.1f s", update.update_id, backoff.next_delay)
                await backoff.asleep()
            else:
                return
