"""The bot's membership of chats: a greeting where it is added, and an end to what waits where it is removed."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from aiogram import Router
from aiogram.enums import ChatMemberStatus, ChatType
from aiogram.types import ChatMemberUpdated

from adapters.telegram.identity import NAME, locale_of, once
from bot.core.cards import Card, Tone
from bot.core.messages import Address
from bot.studio import Studio

_GONE: Final[Container[str]] = {ChatMemberStatus.LEFT, ChatMemberStatus.KICKED}
_GREETED: Final[Container[str]] = {ChatType.GROUP, ChatType.SUPERGROUP}


class Membership:
    """Handlers of ``my_chat_member``.

    Args:
        studio: The core.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def router(self) -> Router:
        """Return the route of all changes of the bot's membership."""
        router = Router(name="membership")
        router.my_chat_member.register(self.change)
        return router

    async def change(self, change: ChatMemberUpdated) -> None:
        """The bot was added, removed, blocked, or given other rights."""
        was_there = change.old_chat_member.status not in _GONE
        is_there = change.new_chat_member.status not in _GONE
        if not is_there:
            await self._studio.chat_closed(NAME, str(change.chat.id))
        elif not was_there and change.chat.type in _GREETED:
            await self._greet(change)

    async def _greet(self, change: ChatMemberUpdated) -> None:
        """Say once in a group what the bot does, to the one who has added it."""
        address = Address(NAME, str(change.chat.id), user=str(change.from_user.id))
        locale = locale_of(change.from_user, self._studio)
        greeting = self._studio.text("telegram.greeting", locale)
        await self._studio.post_notice(once(address, "greeting"), Card(Tone.INFO, greeting, final=True, locale=locale))
