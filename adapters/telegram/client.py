"""The API client as the settings ask for it, and the question whether its token is good."""

from __future__ import annotations

from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import PRODUCTION, TelegramAPIServer
from aiogram.exceptions import TelegramRetryAfter
from aiogram.utils.token import TokenValidationError

from adapters.telegram.faults import CALL_ERRORS, REFUSED, UNREACHABLE, sentence
from bot.settings import Settings

REFUSAL = "Telegram refuses the token in EASEL_TELEGRAM_TOKEN; take the one that @BotFather shows for the bot."

_CHECK_SECONDS = 15


class TokenRefused(Exception):
    """The token is no bot's; the message is one clear sentence."""


def make_bot(settings: Settings) -> Bot:
    """Build the client; nothing is sent yet.

    Raises:
        TokenRefused: The token can't be one.
    """
    token = settings.telegram_token.get_secret_value().strip() if settings.telegram_token else ""
    url = settings.telegram_api_url
    session = AiohttpSession(
        proxy=settings.telegram_proxy or settings.proxy,
        api=TelegramAPIServer.from_base(url) if url else PRODUCTION,
    )
    try:
        return Bot(token, session)
    except TokenValidationError:
        raise TokenRefused(REFUSAL) from None


async def check(settings: Settings) -> str:
    """Ask Telegram who the bot is; returns its name.

    Raises:
        TokenRefused: Telegram does not know the token.
        ConnectionError: Telegram can't be reached; the message says how and what to do.
    """
    async with make_bot(settings) as bot:
        try:
            me = await bot.get_me(request_timeout=_CHECK_SECONDS)
        except REFUSED as error:
            raise TokenRefused(REFUSAL) from error
        except TelegramRetryAfter as error:
            raise ConnectionError(f"Telegram asks to be left alone for {error.retry_after} s.") from error
        except (*UNREACHABLE, *CALL_ERRORS) as error:
            raise ConnectionError(
                f"Telegram can't be reached ({sentence(error, bot.token)}); look at the network, EASEL_TELEGRAM_API_URL "
                "and EASEL_TELEGRAM_PROXY."
            ) from error
    return f"@{me.username}"
