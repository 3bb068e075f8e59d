"""Sentences for those whose update failed: sent by hand, since saving may be what fails."""

from __future__ import annotations

import asyncio
import logging

from aiogram import Bot
from aiogram.exceptions import TelegramRetryAfter
from aiogram.types import Message, ReplyParameters, Update

from adapters.telegram.errands import Errands
from adapters.telegram.identity import locale_of
from adapters.telegram.pace import Pace
from bot.model.errors import Unavailable
from bot.ports import Busy
from bot.studio import Studio

log = logging.getLogger(__name__)

_TRIES = 4
_SECONDS = 10


class Apologies:
    """Tells people at once, and a chat one thing at a time.

    Args:
        bot: The API client.
        studio: Knows the sentences.
        pace: Rate limits.
        errands: Runs the calls.
    """

    def __init__(self, bot: Bot, studio: Studio, pace: Pace, errands: Errands) -> None:
        self._bot = bot
        self._studio = studio
        self._pace = pace
        self._errands = errands
        self._telling: set[int] = set()

    def say(self, update: Update, error: Unavailable | None) -> None:
        """Tell the sender of an update what is wrong: why it can't be saved yet, or that it failed."""
        if update.callback_query is not None:
            query = update.callback_query
            self._errands.answer(query.id, self._text(locale_of(query.from_user), error), alert=True)
        elif update.message is not None and update.message.chat.id not in self._telling:
            message = update.message
            self._telling.add(message.chat.id)
            text = self._text(locale_of(message.from_user), error)
            self._errands.start(self._tell(message, text), "nobody could be told of a failure")

    def _text(self, locale: str, error: Unavailable | None) -> str:
        if error is None:
            return self._studio.text("refusal.unavailable.internal", locale)
        return f"{self._studio.refused(error, locale).status} {self._studio.text('telegram.held', locale)}"

    async def _tell(self, message: Message, text: str) -> None:
        chat_id = message.chat.id
        reply = ReplyParameters(message_id=message.message_id, allow_sending_without_reply=True)
        try:
            for _ in range(_TRIES):
                try:
                    with self._pace.slot(chat_id):
                        await self._bot.send_message(chat_id, text, reply_parameters=reply, request_timeout=_SECONDS)
                except TelegramRetryAfter as error:
                    self._pace.hold(chat_id, error.retry_after)
                except Busy as busy:
                    await asyncio.sleep(busy.seconds)
                else:
                    return
            log.warning("nobody could be told of a failure: the chat must be left alone")
        finally:
            self._telling.discard(chat_id)
