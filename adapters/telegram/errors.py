"""Errors of calls to Telegram, translated to the core's: Gone, RetryLater or Unclear."""

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
from bot.core.waits import ExponentialBackoff

log = logging.getLogger(__name__)

PROXY_ERRORS = (ProxyError, ProxyConnectionError, ProxyTimeoutError)
UNREACHABLE = (TelegramNetworkError, TelegramServerError, ClientDecodeError, *PROXY_ERRORS)
"""No answer from Telegram, or one that is not Telegram's."""
REFUSED = (TelegramUnauthorizedError, TelegramNotFound)
"""The token is refused: 401, or 404 where it is malformed."""
CALL_ERRORS = (AiogramError, *PROXY_ERRORS)
"""All errors of a call."""

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
    """The back-off while Telegram refuses the token. It grows with each refusal that follows a wait.

    Args:
        clock: Seconds; only differences count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._backoff = ExponentialBackoff(first=2.0, longest=60.0)
        self._until = 0.0

    def met(self) -> float:
        """Count a refusal; returns the seconds to wait. Simultaneous refusals in several chats count as one."""
        now = self._clock()
        if now >= self._until:
            self._until = now + self._backoff.fail()
        return self._until - now

    def over(self) -> None:
        """Reset: a call succeeded."""
        self._backoff.succeed()


@contextmanager
def translate_errors(refusals: TokenRefusals, *, repeatable: bool) -> Iterator[None]:
    """Translate the library's errors to the port's.

    ``repeatable``: whether the call is idempotent. TelegramMigrateToChat is raised unchanged: the caller may follow the
    group.
    """
    try:
        yield
        refusals.over()
    except TelegramMigrateToChat:
        raise
    except TelegramRetryAfter as error:
        raise RetryLater(error.retry_after) from error
    except (TelegramForbiddenError, TelegramEntityTooLarge, TelegramBadRequest) as error:
        # A refused request would be refused again; the log line tells the operator why.
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
    """Raise NoPictures where the pictures are refused; refusals of the message or the place pass unchanged."""
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
    """Return the error as one log line, without the token that the URLs of calls hold."""
    return textwrap.shorten(f"{type(error).__name__}: {error}".replace(token, "…"), _LINE, placeholder="…")
