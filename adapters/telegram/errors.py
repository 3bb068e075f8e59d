"""What goes wrong with a call, in the words of the core: Gone, Busy or Unclear."""

from __future__ import annotations

import logging
import textwrap
import time
from collections.abc import Callable, Iterator
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

from bot.core.ports import Gone, NoPictures, RetryLater, Unclear
from bot.core.waits import Backoff

log = logging.getLogger(__name__)

PROXY_ERRORS = (ProxyError, ProxyConnectionError, ProxyTimeoutError)
UNREACHABLE = (TelegramNetworkError, TelegramServerError, ClientDecodeError, *PROXY_ERRORS)
"""Telegram, or what stands between, does not answer, or not in its own words."""
REFUSED = (TelegramUnauthorizedError, TelegramNotFound)
"""The token is not a bot's: 401; 404 where it does not even look like one."""
CALL_ERRORS = (AiogramError, *PROXY_ERRORS)
"""All that a call may raise."""

_PASSING = 5.0
_LINE = 300

_NOT_THE_PICTURES = (
    "message is not modified",
    "message to edit not found",
    "message can't be edited",
    "MESSAGE_ID_INVALID",
    "TOPIC_CLOSED",
    "TOPIC_DELETED",
    "message thread not found",
    "chat not found",
    "CHAT_WRITE_FORBIDDEN",
    "to send a message",
    "to send text messages",
    "PEER_ID_INVALID",
)


class TokenRefusals:
    """How long to wait while Telegram refuses the token: longer with each refusal that comes after such a wait.

    Args:
        clock: Seconds; only differences count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._backoff = Backoff(first=2.0, longest=60.0)
        self._until = 0.0

    def met(self) -> float:
        """Count a refusal; returns the seconds to wait. Those of many chats at one moment count as one."""
        now = self._clock()
        if now >= self._until:
            self._until = now + self._backoff.fail()
        return self._until - now

    def over(self) -> None:
        """A call was taken."""
        self._backoff.succeed()


@contextmanager
def translate_errors(refusals: TokenRefusals, *, repeatable: bool) -> Iterator[None]:
    """Turn the library's errors into the port's. ``repeatable``: doing it twice shows it once.

    A group that became a supergroup passes as TelegramMigrateToChat: the caller may follow it.
    """
    try:
        yield
        refusals.over()
    except TelegramMigrateToChat:
        raise
    except TelegramRetryAfter as error:
        raise RetryLater(error.retry_after) from error
    except (TelegramForbiddenError, TelegramEntityTooLarge, TelegramBadRequest) as error:
        # A request that is refused once is refused again; what it was tells the operator what to do.
        log.warning("Telegram refused %s: %s", type(error.method).__name__, error.message)
        raise Gone(error.message) from error
    except (*REFUSED, TelegramConflictError) as error:
        log.warning("Telegram refused the token in %s: %s", type(error.method).__name__, error.message)
        raise RetryLater(refusals.met()) from error
    except (TelegramAPIError, ClientDecodeError, *PROXY_ERRORS) as error:
        if never_sent(error):
            raise RetryLater(_PASSING) from error
        if repeatable:
            raise RetryLater(_PASSING, unclear=True) from error
        raise Unclear(type(error).__name__) from error


@contextmanager
def picture_errors() -> Iterator[None]:
    """Tell a refusal of pictures (NoPictures) from one of the message or of the place, which passes."""
    try:
        yield
    except TelegramMigrateToChat:
        raise
    except (TelegramBadRequest, TelegramEntityTooLarge) as error:
        if any(reason in error.message for reason in _NOT_THE_PICTURES):
            raise
        log.warning("Telegram refused pictures in %s: %s", type(error.method).__name__, error.message)
        raise NoPictures(error.message) from error


def never_sent(error: BaseException) -> bool:
    """Whether the call failed before any of it was sent."""
    return isinstance(error, PROXY_ERRORS) or isinstance(error.__cause__, ClientConnectorError | InvalidURL)


def describe(error: BaseException, token: str) -> str:
    """The error as one log line, without the token that addresses of calls carry."""
    return textwrap.shorten(f"{type(error).__name__}: {error}".replace(token, "…"), _LINE, placeholder="…")
