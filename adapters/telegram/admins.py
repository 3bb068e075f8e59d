"""Group administrators: looked up only when a command needs the right, and cached for a minute."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest, TelegramForbiddenError, TelegramRetryAfter
from aiogram.methods import TelegramMethod
from aiogram.types import Message
from pydantic import BaseModel

from adapters.telegram.errors import CALL_ERRORS, describe
from adapters.telegram.identity import is_group, place_of
from bot.core.errors import AdminsOnly, NotAllowed
from bot.core.people import Actor
from bot.studio import Studio

T = TypeVar("T")

log = logging.getLogger(__name__)

_SECONDS = 10
_ADMINS = frozenset({"creator", "administrator"})


class _Member(BaseModel):
    """A ``ChatMember`` of any kind and Bot API version; only its status is read."""

    status: str


class _GetStatus(TelegramMethod[_Member]):
    """``getChatMember``. aiogram's own model rejects an answer with a missing or unknown right."""

    __returning__ = _Member
    __api_method__ = "getChatMember"

    chat_id: int
    user_id: int


class Admins:
    """Looks up whether a person is an administrator of a group.

    Args:
        bot: The API client.
        keep: How long an answer is cached, in seconds.
        again: Pause after a failed look-up, in seconds.
        clock: Seconds; only differences count.
    """

    def __init__(
        self, bot: Bot, keep: float = 60.0, again: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bot = bot
        self._keep = keep
        self._again = again
        self._clock = clock
        self._known: dict[tuple[int, int], tuple[float, bool | None]] = {}
        self._away_until = 0.0

    async def includes(self, chat_id: int, user_id: int) -> bool:
        """Whether the person is the owner or an administrator.

        Raises:
            NotAllowed: Telegram does not answer.
        """
        now = self._clock()
        self._known = {key: known for key, known in self._known.items() if known[0] > now}
        if (chat_id, user_id) not in self._known:
            if now < self._away_until:
                raise NotAllowed("telegram.admin_unclear")
            until, admin = await self._ask(chat_id, user_id)
            self._known[chat_id, user_id] = (until, admin)
        known = self._known[chat_id, user_id][1]
        if known is None:
            raise NotAllowed("telegram.admin_unclear")
        return known

    async def attempt(self, studio: Studio, message: Message, actor: Actor, work: Callable[[Actor], Awaitable[T]]) -> T:
        """Do the work of a request. Whether the actor is an admin here is looked up only where that matters.

        Raises:
            Refusal: As ``work``.
            NotAllowed: It was refused as for admins alone, and Telegram does not answer.
        """
        if not is_group(message.chat):
            return await work(actor)
        chat, user = message.chat.id, int(actor.user_id)
        if studio.depends_on_admins(actor, place_of(message)):
            # Without an answer the default model is passed over.
            with suppress(NotAllowed):
                actor = replace(actor, is_admin=await self.includes(chat, user))
        try:
            return await work(actor)
        except AdminsOnly:
            if actor.is_admin or not await self.includes(chat, user):
                raise
        return await work(replace(actor, is_admin=True))

    async def _ask(self, chat_id: int, user_id: int) -> tuple[float, bool | None]:
        try:
            member = await self._bot(_GetStatus(chat_id=chat_id, user_id=user_id), request_timeout=_SECONDS)
        except CALL_ERRORS as error:
            log.warning("Telegram does not tell who is an admin: %s", describe(error, self._bot.token))
            until = self._clock() + self._again
            if isinstance(error, TelegramRetryAfter):
                self._away_until = self._clock() + error.retry_after
            elif not isinstance(error, TelegramBadRequest | TelegramForbiddenError):
                self._away_until = until  # not caused by this look-up
            return until, None
        return self._clock() + self._keep, member.status in _ADMINS
