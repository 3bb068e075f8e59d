"""Asks Telegram until it answers; says meanwhile, in the log and in /readyz, why it does not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from aiogram import Bot
from aiogram.exceptions import TelegramAPIError, TelegramConflictError, TelegramRetryAfter
from aiogram.utils.backoff import Backoff, BackoffConfig

from adapters.telegram.faults import CALL_ERRORS, REFUSED, UNREACHABLE, sentence
from adapters.telegram.identity import PLATFORM
from bot.studio import Studio

T = TypeVar("T")

log = logging.getLogger(__name__)

_UNREACHABLE = BackoffConfig(min_delay=1.0, max_delay=60.0, factor=2.0, jitter=0.1)
_REFUSED = BackoffConfig(min_delay=2.0, max_delay=300.0, factor=2.0, jitter=0.1)
_FAILING = BackoffConfig(min_delay=0.5, max_delay=15.0, factor=2.0, jitter=0.1)
_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Patience:
    """How the reader of updates waits.

    Attributes:
        poll: How long Telegram may hold a request that has nothing to tell, in whole seconds.
        answer: How much longer its answer may take, in seconds.
        unreachable: Pauses while Telegram can't be reached.
        refused: Pauses while Telegram refuses the token, or another program reads the updates.
        failing: Pauses between the tries of an update that can't be saved.
    """

    poll: int = 25
    answer: int = 20
    unreachable: BackoffConfig = _UNREACHABLE
    refused: BackoffConfig = _REFUSED
    failing: BackoffConfig = _FAILING


class Connection:
    """One bot's connection to Telegram.

    Args:
        bot: The API client.
        studio: Knows the sentences, and is told why this platform serves nobody.
        patience: Pauses.
    """

    def __init__(self, bot: Bot, studio: Studio, patience: Patience) -> None:
        self._bot = bot
        self._studio = studio
        self._patience = patience

    async def ask(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call until it succeeds; it may be repeated.

        Telegram refuses good tokens at times, and other programs end: no refusal of the bot itself is taken for the last.

        Raises:
            TelegramAPIError: Telegram refused the call itself.
        """
        unreachable, refused = Backoff(self._patience.unreachable), Backoff(self._patience.refused)
        while True:
            try:
                result = await call()
            except TelegramRetryAfter as error:
                log.info("Telegram asks to wait %d s", error.retry_after)
                await asyncio.sleep(error.retry_after)
            except REFUSED as error:
                self._problem("telegram.problem.refused", error, refused)
                await refused.asleep()
            except TelegramConflictError as error:
                if "webhook" in error.message.lower():
                    self._problem("telegram.problem.webhook", error, refused)
                    await self._remove_webhook()
                else:
                    self._problem("telegram.problem.conflict", error, refused)
                await refused.asleep()
            except UNREACHABLE as error:
                why = sentence(error, self._bot.token)
                log.warning("Telegram can't be reached (%s); again in %.0f s", why, unreachable.next_delay)
                if unreachable.counter:  # a single fault passes by itself
                    self._report(self._studio.text("telegram.problem.unreachable", "en", why=why))
                await unreachable.asleep()
            else:
                if unreachable.counter or refused.counter:
                    log.info("Telegram answers again")
                self._report(None)
                return result

    def _problem(self, key: str, error: TelegramAPIError, backoff: Backoff) -> None:
        problem = self._studio.text(key, "en")
        level = logging.WARNING if backoff.counter else logging.CRITICAL
        said, pause = sentence(error, self._bot.token), backoff.next_delay
        log.log(level, "Telegram is off: %s Telegram says: %s. Again in %.1f s.", problem, said, pause)
        self._report(problem)

    def _report(self, problem: str | None) -> None:
        self._studio.connection_problem(PLATFORM, problem)

    async def _remove_webhook(self) -> None:
        try:
            await self._bot.delete_webhook(drop_pending_updates=False, request_timeout=_SECONDS)
        except CALL_ERRORS as error:
            log.warning("the webhook could not be removed: %s", sentence(error, self._bot.token))
        else:
            log.warning("the webhook of this bot was removed")
