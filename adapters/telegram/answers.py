"""Answers that are no pictures: posted where the question was asked, and to strangers each kind of them only once."""

from __future__ import annotations

from dataclasses import replace

from aiogram.types import Message

from adapters.telegram.identity import address_near, once, once_in_album, place_of, ref_of
from bot.model.cards import Card
from bot.model.errors import Refusal
from bot.model.people import Actor
from bot.studio import Studio


class Answers:
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
