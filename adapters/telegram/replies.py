"""Replies that are not job cards: saved by handlers, sent by delivery."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from aiogram import BaseMiddleware
from aiogram.types import Message, TelegramObject, Update

from adapters.telegram.identity import address_near, author_of, once, once_in_album, place_of, ref_of
from bot.core.cards import Card, Tone
from bot.core.errors import Refusal
from bot.core.people import Actor
from bot.studio import Studio


class ReplyPoster:
    """Saves answers; delivery sends them.

    Args:
        studio: The core.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    async def post(
        self, message: Message, actor: Actor, update_id: int, card: Card, *, kind: str, part: str = ""
    ) -> None:
        """Answer a message in its own chat: a group's own talk, or a chat that is private anyway.

        Args:
            message: What is answered.
            actor: Who wrote it.
            update_id: Of the message's update: the same one again is answered once.
            card: The answer.
            kind: What sort of answer it is. Strangers may write for ever and each answer is a row, so whoever is not let
                in yet is told the same sort of thing once.
            part: Tells several answers to one message apart.
        """
        address = address_near(message, actor)
        album = message.media_group_id
        ref = once_in_album(address, album, kind) if album else ref_of(update_id, address, part)
        if await self._studio.is_stranger(actor, place_of(message)):
            ref = once(address, kind)
        await self._studio.post(ref, replace(card, private=False))

    async def refuse(self, message: Message, actor: Actor, update_id: int, refusal: Refusal) -> None:
        """Say why something is not done."""
        card = self._studio.refused(refusal, actor.locale)
        await self.post(message, actor, update_id, card, kind=refusal.key)


class MissedNotices(BaseMiddleware):
    """Runs after the handler of a message.

    Args:
        studio: Knows what was missed.
        replies: Where the sentence goes.
    """

    def __init__(self, studio: Studio, replies: ReplyPoster) -> None:
        self._studio = studio
        self._replies = replies

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
                await self._replies.post(event, actor, update.update_id, card, kind=kind, part="missed")
                await self._studio.heard(actor, told)
        return result
