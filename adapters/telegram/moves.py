"""Groups that become supergroups: Telegram gives them another id, and all that was set there goes with them."""

from __future__ import annotations

from aiogram import F, Router
from aiogram.types import Message

from adapters.telegram.identity import PLATFORM
from bot.studio import Studio


class Moves:
    """The handler of such news.

    Args:
        studio: The core.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def router(self) -> Router:
        """The route: Telegram's last message in the old group, and its first one in the new one."""
        router = Router(name="moves")
        router.message.register(self.left, F.migrate_to_chat_id)
        router.message.register(self.came, F.migrate_from_chat_id)
        return router

    async def left(self, message: Message) -> None:
        """The old group says where it goes."""
        await self._studio.moved(PLATFORM, str(message.chat.id), str(message.migrate_to_chat_id))

    async def came(self, message: Message) -> None:
        """The new one says where it comes from; usually that is known by then."""
        await self._studio.moved(PLATFORM, str(message.migrate_from_chat_id), str(message.chat.id))
