"""Calls that handlers leave for later: answers to presses, turned pages, notices of failures.

None of them is durable.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine

from aiogram import Bot
from aiogram.exceptions import TelegramRetryAfter
from aiogram.types import Message, ReplyParameters, Update

from adapters.telegram.errors import CALL_ERRORS, describe
from adapters.telegram.identity import locale_of
from adapters.telegram.rate_limit import RateLimiter
from adapters.telegram.render import answer
from bot.core.errors import Unavailable
from bot.core.ports import Gone, RetryLater
from bot.studio import Studio

log = logging.getLogger(__name__)

TRIES = 4
_SECONDS = 10


async def retry_while_busy(call: Callable[[], Awaitable[None]], tries: int = TRIES) -> None:
    """Make a call, and repeat it while a rate limit forbids it.

    Args:
        call: The call.
        tries: How often it is made at most.

    Raises:
        RetryLater: The rate limit still forbade the last try.
        TelegramRetryAfter: Telegram asked to wait at the last try.
    """
    for left in reversed(range(tries)):
        try:
            await call()
        except (RetryLater, TelegramRetryAfter) as error:
            if not left:
                raise
            await asyncio.sleep(error.seconds if isinstance(error, RetryLater) else error.retry_after)
        else:
            return


class BackgroundCalls:
    """Small calls whose loss costs nothing; each runs as a task of the group that owns them.

    Args:
        bot: The API client.
        group: Awaits the tasks, and cancels them when the platform stops.
    """

    def __init__(self, bot: Bot, group: asyncio.TaskGroup) -> None:
        self._bot = bot
        self._group = group

    def answer(self, query_id: str, notice: str, *, alert: bool = False) -> None:
        """End a press, so that the button stops spinning; ``alert`` shows the notice as a dialog."""

        async def call() -> None:
            await self._bot.answer_callback_query(
                query_id, text=answer(notice) or None, show_alert=alert, request_timeout=_SECONDS
            )

        self.start(retry_while_busy(call), "a press could not be answered")

    def start(self, call: Coroutine[None, None, None], failure: str) -> None:
        """Run a call. If it fails, ``failure`` and the reason are logged; nothing else follows."""
        self._group.create_task(self._run(call, failure))

    async def _run(self, call: Coroutine[None, None, None], failure: str) -> None:
        try:
            await call
        except CALL_ERRORS as error:
            log.warning("%s: %s", failure, describe(error, self._bot.token))
        except RetryLater:
            log.warning("%s: the chat must be left alone", failure)
        except Gone as gone:
            log.warning("%s: %s", failure, gone)
        except Exception:
            log.exception("%s", failure)


class FailureNotices:
    """Tells the sender of an update that it failed. The notice is sent directly: saving it may be what fails.

    One chat gets one notice at a time.

    Args:
        bot: The API client.
        studio: Knows the sentences.
        rate_limiter: Telegram's limits.
        background: Runs the calls.
    """

    def __init__(self, bot: Bot, studio: Studio, rate_limiter: RateLimiter, background: BackgroundCalls) -> None:
        self._bot = bot
        self._studio = studio
        self._rate_limiter = rate_limiter
        self._background = background
        self._in_flight: set[int] = set()

    def send(self, update: Update, error: Unavailable | None) -> None:
        """Tell the sender why the update can't be saved yet, or, where ``error`` is None, that it failed."""
        if update.callback_query is not None:
            query = update.callback_query
            self._background.answer(query.id, self._text(locale_of(query.from_user), error), alert=True)
        elif update.message is not None and update.message.chat.id not in self._in_flight:
            message = update.message
            self._in_flight.add(message.chat.id)
            text = self._text(locale_of(message.from_user), error)
            self._background.start(self._send(message, text), "nobody could be told of a failure")

    def _text(self, locale: str, error: Unavailable | None) -> str:
        if error is None:
            return self._studio.text("refusal.unavailable.internal", locale)
        return f"{self._studio.refused(error, locale).status} {self._studio.text('telegram.held', locale)}"

    async def _send(self, message: Message, text: str) -> None:
        chat_id = message.chat.id
        reply = ReplyParameters(message_id=message.message_id, allow_sending_without_reply=True)

        async def call() -> None:
            try:
                with self._rate_limiter.slot(chat_id):
                    await self._bot.send_message(chat_id, text, reply_parameters=reply, request_timeout=_SECONDS)
            except TelegramRetryAfter as error:
                self._rate_limiter.hold(chat_id, error.retry_after)
                raise

        try:
            await retry_while_busy(call)
        finally:
            self._in_flight.discard(chat_id)
