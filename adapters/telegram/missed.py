"""Tells people, once they write again, what could be shown to them nowhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiogram import BaseMiddleware
from aiogram.types import Message, TelegramObject, Update

from adapters.telegram.answers import Answers
from adapters.telegram.identity import author_of
from bot.model.cards import Card, Tone
from bot.studio import Studio


class Missed(BaseMiddleware):
    """Runs after the handler of a message.

    Args:
        studio: Knows what was missed.
        answers: Where the sentence goes.
    """

    def __init__(self, studio: Studio, answers: Answers) -> None:
        self._studio = studio
        self._answers = answers

    async def __call__(
        self,
        handler: Callable[[TelegramObject, dict[str, Any]], Awaitable[Any]],
        event: TelegramObject,
        data: dict[str, Any],
    ) -> Any:
        """Handle the message, then say what its author has missed."""
        result = await handler(event, data)
        update: Update = data["event_update"]
        if isinstance(event, Message):
            actor = author_of(event, ())
            if (told := await self._studio.missed(actor)) is not None:
                card = Card(Tone.INFO, told.notice, final=True)
                kind = f"missed{told.latest}"
                await self._answers.post(event, actor, update.update_id, card, kind=kind, part="missed")
                await self._studio.heard(actor, told)
        return result
