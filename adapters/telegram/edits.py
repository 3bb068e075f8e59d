"""Edited messages: the request of a message that was edited soon is replaced while it waits."""

from __future__ import annotations

from collections.abc import Container

from aiogram import F, Router
from aiogram.enums import ChatType
from aiogram.types import Message, Update, User

from adapters.telegram.commands import DRAWING, addressed_prompt, parse_command
from adapters.telegram.identity import address_near, author_of, once, place_of, ref_of
from adapters.telegram.replies import ReplyPoster
from bot.core.errors import Conflict, Refusal
from bot.core.requests import DrawForm
from bot.studio import Studio

SECONDS = 60
"""For how long an edit is read as another request."""


class EditedMessages:
    """Handlers of ``edited_message``.

    Args:
        studio: The core.
        me: The bot's own account.
        owners: User ids of this Easel's owners.
        replies: Saves replies.
    """

    def __init__(self, studio: Studio, me: User, owners: Container[str], replies: ReplyPoster) -> None:
        self._studio = studio
        self._me = me
        self._owners = owners
        self._replies = replies

    def router(self) -> Router:
        """Return the route of edited texts."""
        router = Router(name="edits")
        router.edited_message.register(self.edit, F.text)
        return router

    async def edit(self, message: Message, event_update: Update) -> None:
        """Replace the request, or say why that is not possible. A message that requested nothing is left alone."""
        prompt = self._prompt(message)
        if prompt is None or (message.edit_date or 0) - int(message.date.timestamp()) > SECONDS:
            return
        actor, update_id = author_of(message, self._owners, self._studio), event_update.update_id
        address = address_near(message, actor)
        try:
            await self._studio.revise(actor, place_of(message), DrawForm(prompt=prompt), ref_of(update_id, address))
        except Conflict as late:
            # People correct a message several times; they are told once.
            card = self._studio.refused(late, actor.locale)
            await self._studio.post_notice(once(address, f"revise:{message.message_id}"), card)
        except Refusal as refusal:
            await self._replies.refuse(message, actor, update_id, refusal)

    def _prompt(self, message: Message) -> str | None:
        """Return what the message asks to draw; None where it is another command, or talk in a group."""
        text = message.text or ""
        line = parse_command(text, self._me.username)
        if line is not None:
            return line.rest if line.name in DRAWING else None
        if message.chat.type == ChatType.PRIVATE:
            return None if text.startswith("/") else text
        return addressed_prompt(message, self._me)
