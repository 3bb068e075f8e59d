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
    """Saves replies; delivery sends them.

    Args:
        studio: The core.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def notice(self, key: str, actor: Actor, **params: str | int) -> Card:
        """Return a card with one sentence of the catalogue, in the actor's language."""
        return Card(Tone.INFO, self._studio.text(key, actor.locale, **params), final=True)

    async def post(
        self, message: Message, actor: Actor, update_id: int, card: Card, *, kind: str, part: str = ""
    ) -> None:
        """Reply to a message in its own chat.

        Args:
            message: The message.
            actor: Its author.
            update_id: Id of the message's update; a repeated update gets one reply.
            card: The reply.
            kind: Kind of the reply. People who are not admitted yet get each kind once, since every reply is a row.
            part: Distinguishes several replies to one message.
        """
        address = address_near(message, actor)
        album = message.media_group_id
        ref = once_in_album(address, album, kind) if album else ref_of(update_id, address, part)
        if await self._studio.is_stranger(actor, place_of(message)):
            ref = once(address, kind)
        await self._studio.post_notice(ref, replace(card, private=False))

    async def refuse(self, message: Message, actor: Actor, update_id: int, refusal: Refusal) -> None:
        """Reply with a refusal."""
        card = self._studio.refused(refusal, actor.locale)
        await self.post(message, actor, update_id, card, kind=refusal.key)


class MissedNotices(BaseMiddleware):
    """Tells an author, after their message is handled, which cards could not be delivered.

    Args:
        studio: Knows the undelivered cards.
        replies: Saves the notice.
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
        """Handle the message, then send the notice."""
        result = await handler(event, data)
        update: Update = data["event_update"]
        if isinstance(event, Message):
            actor = author_of(event, (), self._studio)
            if (told := await self._studio.find_missed(actor)) is not None:
                card = Card(Tone.INFO, told.notice, final=True)
                kind = f"missed{told.latest}"
                await self._replies.post(event, actor, update.update_id, card, kind=kind, part="missed")
                await self._studio.mark_told(actor, told)
        return result
