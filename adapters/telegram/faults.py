"""What goes wrong with a call, in the words of the core: Gone, Busy or Unclear."""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

from aiogram.exceptions import (
    AiogramError,
    ClientDecodeError,
    TelegramAPIError,
    TelegramBadRequest,
    TelegramConflictError,
    TelegramEntityTooLarge,
    TelegramForbiddenError,
    TelegramMigrateToChat,
    TelegramNetworkError,
    TelegramNotFound,
    TelegramRetryAfter,
    TelegramServerError,
    TelegramUnauthorizedError,
)
from aiohttp import ClientConnectorError, InvalidURL
from aiohttp_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError

from bot.ports import Busy, Gone, Unclear

log = logging.getLogger(__name__)

PROXY_ERRORS = (ProxyError, ProxyConnectionError, ProxyTimeoutError)
UNREACHABLE = (TelegramNetworkError, TelegramServerError, ClientDecodeError, *PROXY_ERRORS)
"""Telegram, or what stands between, does not answer, or not in its own words."""
REFUSED = (TelegramUnauthorizedError, TelegramNotFound)
"""The token is not a bot's: 401; 404 where it does not even look like one."""
CALL_ERRORS = (AiogramError, *PROXY_ERRORS)
"""All that a call may raise."""

_PASSING = 5.0
_TOKEN_REFUSED = 300.0
_LINE = 300


@contextmanager
def told(*, repeatable: bool) -> Iterator[None]:
    """Turn the library's errors into the port's. ``repeatable``: doing it twice shows it once.

    A group that became a supergroup passes as TelegramMigrateToChat: the caller may follow it.
    """
    try:
        yield
    except TelegramMigrateToChat:
        raise
    except TelegramRetryAfter as error:
        raise Busy(error.retry_after) from error
    except (TelegramForbiddenError, TelegramEntityTooLarge, TelegramBadRequest) as error:
        # A request that is refused once is refused again; what it was tells the operator what to do.
        log.warning("Telegram refused %s: %s", type(error.method).__name__, error.message)
        raise Gone(error.message) from error
    except (*REFUSED, TelegramConflictError) as error:
        raise Busy(_TOKEN_REFUSED) from error
    except (TelegramAPIError, ClientDecodeError, *PROXY_ERRORS) as error:
        if repeatable or never_left(error):
            raise Busy(_PASSING) from error
        raise Unclear(type(error).__name__) from error


def never_left(error: BaseException) -> bool:
    """Whether the call failed before any of it was sent."""
    return isinstance(error, PROXY_ERRORS) or isinstance(error.__cause__, ClientConnectorError | InvalidURL)


def sentence(error: BaseException, token: str) -> str:
    """The error as one log line, without the token that addresses of calls carry."""
    return textwrap.shorten(f"{type(error).__name__}: {error}".replace(token, "…"), _LINE, placeholder="…")
