"""Calls that handlers leave for later: answers to presses, turned pages, notices of failures.

None of them is durable.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine

from aiogram import Bot
from aiogram.exceptions import TelegramRetryAfter
from aiogram.types import Message, ReplyParameters, Update

from adapters.telegram.errors import CALL_ERRORS, describe
from adapters.telegram.identity import locale_of, written
from adapters.telegram.rate_limit import RateLimiter
from adapters.telegram.render import answer
from bot.core.errors import Unavailable
from bot.core.ports import Gone, RetryLater
from bot.studio import Studio

log = logging.getLogger(__name__)

TRIES = 4
ACTION_SECONDS = 5.0
"""How long an action is shown (https://core.telegram.org/bots/api#sendchataction)."""
_ACTIONS_AT_ONCE = 16
_REMEMBERED = 1024
_SECONDS = 10
_UNTOLD = "nobody could be told of a failure"


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
        """Run a call. If it fails, ``failure`` and the reason are logged; nothing else follows.

        While the platform stops, calls are dropped: delivery may be sending, and its message must count as sent.
        """
        run = self._run(call, failure)
        try:
            self._group.create_task(run)
        except RuntimeError:  # the group takes no more tasks
            run.close()
            call.close()

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


class ChatActions:
    """Shows in chats that the bot is at work ("typing…"): at most every five seconds in a chat, and never durable.

    Actions are no messages, so they take none of the limits of messages. A chat that Telegram has asked to leave alone
    gets none, and after a refusal for too many no chat gets one for a while.

    Args:
        bot: The API client.
        rate_limiter: Knows which chats are to be left alone.
        background: Runs the calls.
        clock: Seconds; only differences count.
    """

    def __init__(
        self,
        bot: Bot,
        rate_limiter: RateLimiter,
        background: BackgroundCalls,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bot = bot
        self._rate_limiter = rate_limiter
        self._background = background
        self._clock = clock
        self._again_at: dict[int, float] = {}
        self._away_until = 0.0
        self._slots = asyncio.Semaphore(_ACTIONS_AT_ONCE)

    def show(self, chat_id: int, action: str, thread: int | None = None) -> None:
        """Show the action for the next five seconds, or until the bot's next message, where the limits allow it."""
        now = self._clock()
        if now < self._away_until or self._again_at.get(chat_id, 0.0) > now or self._rate_limiter.held(chat_id):
            return
        if len(self._again_at) > _REMEMBERED:
            self._again_at = {key: at for key, at in self._again_at.items() if at > now}
        self._again_at[chat_id] = now + ACTION_SECONDS
        self._background.start(self._send(chat_id, action, thread), "a chat action could not be shown")

    async def _send(self, chat_id: int, action: str, thread: int | None) -> None:
        async with self._slots:
            try:
                await self._bot.send_chat_action(chat_id, action, message_thread_id=thread, request_timeout=_SECONDS)
            except TelegramRetryAfter as error:
                self._away_until = self._clock() + error.retry_after
            except CALL_ERRORS as error:
                # The chat may be closed to the bot; the message that follows finds another way.
                log.debug("no chat action: %s", describe(error, self._bot.token))


class FailureNotices:
    """Tells the sender of an update that it failed. The notice is sent directly: saving it may be what fails.

    One chat gets one notice at a time. An inline message shows the notice itself.

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
            self._background.answer(query.id, self._text(locale_of(query.from_user, self._studio), error), alert=True)
        elif (message := written(update)) is not None and message.chat.id not in self._in_flight:
            self._in_flight.add(message.chat.id)
            text = self._text(locale_of(message.from_user, self._studio), error)
            self._background.start(self._send(message, text), _UNTOLD)
        elif (chosen := update.chosen_inline_result) is not None and chosen.inline_message_id is not None:
            text = self._text(locale_of(chosen.from_user, self._studio), error)
            self._background.start(self._edit_inline(chosen.inline_message_id, text), _UNTOLD)

    def _text(self, locale: str, error: Unavailable | None) -> str:
        if error is None:
            return self._studio.text("refusal.unavailable.internal", locale)
        return f"{self._studio.refused(error, locale).status} {self._studio.text('telegram.held', locale)}"

    async def _edit_inline(self, message_id: str, text: str) -> None:
        async def call() -> None:
            await self._bot.edit_message_text(text, inline_message_id=message_id, request_timeout=_SECONDS)

        await retry_while_busy(call)

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
