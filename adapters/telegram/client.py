"""The API client as the settings ask for it, and the question whether its token is good."""

from __future__ import annotations

from typing import Any

from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import PRODUCTION, TelegramAPIServer
from aiogram.exceptions import TelegramRetryAfter
from aiogram.methods import Response, TelegramMethod
from aiogram.methods.base import TelegramType
from aiogram.utils.token import TokenValidationError

from adapters.telegram.faults import REFUSED, UNREACHABLE, sentence
from adapters.telegram.settings import TelegramSettings
from bot.model.errors import Unavailable
from bot.settings import Settings

_CHECK_SECONDS = 15


class _Session(AiohttpSession):
    """Keeps the types of answers: pydantic forgets one that is not in use, and takes 4 ms to build it again."""

    def __init__(self, *, proxy: str | None, api: TelegramAPIServer) -> None:
        super().__init__(proxy=proxy, api=api)
        self._types: dict[object, type[Response[Any]]] = {}

    def check_response(
        self, bot: Bot, method: TelegramMethod[TelegramType], status_code: int, content: str
    ) -> Response[TelegramType]:
        returned = method.__returning__
        if returned not in self._types:
            self._types[returned] = Response[returned]  # type: ignore[valid-type]
        return super().check_response(bot, method, status_code, content)


def make_bot(settings: TelegramSettings, core: Settings) -> Bot:
    """Build the client; nothing is sent yet.

    Raises:
        Unavailable: The token can't be one, or the proxy's address is none.
    """
    token = settings.token.get_secret_value().strip() if settings.token else ""
    url = settings.api_url
    proxy = settings.proxy or core.proxy
    try:
        session = _Session(
            # Names are looked up by the proxy either way; curl's spelling for that is known to many.
            proxy=proxy and proxy.replace("socks5h://", "socks5://", 1),
            api=TelegramAPIServer.from_base(url) if url else PRODUCTION,
        )
    except ValueError as error:
        raise Unavailable("telegram.check.proxy") from error
    try:
        return Bot(token, session)
    except TokenValidationError as error:
        raise Unavailable("telegram.check.refused") from error


async def identify(settings: TelegramSettings, core: Settings) -> str:
    """Ask Telegram for the bot's name, for ``easel doctor``.

    Returns:
        The bot's name.

    Raises:
        Unavailable: The token is refused, or Telegram can't be reached.
    """
    async with make_bot(settings, core) as bot:
        try:
            me = await bot.get_me(request_timeout=_CHECK_SECONDS)
        except REFUSED as error:
            raise Unavailable("telegram.check.refused") from error
        except (TelegramRetryAfter, *UNREACHABLE) as error:
            raise Unavailable("telegram.check.away", why=sentence(error, bot.token)) from error
    return f"@{me.username}"
