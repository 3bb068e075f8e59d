"""Who may set rules in a group: asked of Telegram only when somebody tries to, and remembered for a minute."""

from __future__ import annotations

import time
from collections.abc import Callable

from aiogram import Bot
from aiogram.types import ChatMemberAdministrator, ChatMemberOwner

_SECONDS = 10


class Admins:
    """Answers whether a person is an administrator of a group.

    Args:
        bot: The API client.
        keep: How long an answer counts, in seconds.
        clock: Seconds; only differences count.
    """

    def __init__(self, bot: Bot, keep: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._bot = bot
        self._keep = keep
        self._clock = clock
        self._known: dict[tuple[int, int], tuple[float, bool]] = {}

    async def includes(self, chat_id: int, user_id: int) -> bool:
        """Whether the person is the owner or an administrator. Raises aiogram's errors when Telegram can't say."""
        now = self._clock()
        self._known = {key: known for key, known in self._known.items() if known[0] > now}
        if (chat_id, user_id) not in self._known:
            member = await self._bot.get_chat_member(chat_id, user_id, request_timeout=_SECONDS)
            admin = isinstance(member, ChatMemberOwner | ChatMemberAdministrator)
            self._known[chat_id, user_id] = (now + self._keep, admin)
        return self._known[chat_id, user_id][1]
