"""The API client, and calls that are repeated until Telegram answers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import PRODUCTION, TelegramAPIServer
from aiogram.exceptions import TelegramAPIError, TelegramConflictError, TelegramRetryAfter
from aiogram.methods import Response, TelegramMethod
from aiogram.methods.base import TelegramType
from aiogram.utils.token import TokenValidationError

from adapters.telegram.errors import CALL_ERRORS, REFUSED, UNREACHABLE, describe
from adapters.telegram.identity import NAME
from adapters.telegram.settings import TelegramSettings
from bot.core.errors import Unavailable
from bot.core.waits import ExponentialBackoff
from bot.settings import Settings
from bot.studio import Studio

_CHECK_SECONDS = 15


class _Session(AiohttpSession):
    """Caches the response models: pydantic drops unused ones, and takes 4 ms to build one again.

    Closing it does not wait for longer than the connections take to close.
    """

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

    async def close(self) -> None:
        """Close the connections, and wait until they are closed; aiogram waits a quarter of a second more."""
        if self._session is not None:
            await self._session.close()


def make_bot(settings: TelegramSettings, core: Settings) -> Bot:
    """Build the client; no network access.

    Raises:
        Unavailable: The token or the proxy's address is malformed.
    """
    token = settings.token.get_secret_value().strip() if settings.token else ""
    url = settings.api_url
    try:
        session = _Session(
            proxy=settings.proxy_url(core),
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
            raise Unavailable("telegram.check.away", why=describe(error, bot.token)) from error
    return f"@{me.username}"


T = TypeVar("T")

log = logging.getLogger(__name__)

_SECONDS = 10

_UNREACHABLE = partial(ExponentialBackoff, 1.0, 60.0)
_REFUSED = partial(ExponentialBackoff, 2.0, 300.0)
_FAILING = partial(ExponentialBackoff, 0.5, 15.0)


@dataclass(frozen=True, slots=True)
class PollingOptions:
    """Timeouts and pauses of long polling.

    Attributes:
        poll: How long Telegram may hold a request that has no updates, in whole seconds.
        answer: How much longer its answer may take, in seconds.
        unreachable: Makes the pauses while Telegram can't be reached.
        refused: Makes the pauses while Telegram refuses the token, or another program polls.
        failing: Makes the pauses between the tries of an update that can't be saved.
        webhook_check: Seconds between two looks at what Telegram says of the webhook.
    """

    poll: int = 25
    answer: int = 20
    unreachable: Callable[[], ExponentialBackoff] = _UNREACHABLE
    refused: Callable[[], ExponentialBackoff] = _REFUSED
    failing: Callable[[], ExponentialBackoff] = _FAILING
    webhook_check: float = 60.0


class ApiRetrier:
    """Repeats calls until Telegram answers, and reports meanwhile, in the log and in /readyz, why it does not.

    Telegram refuses valid tokens at times, and other programs end, so no refusal of the bot itself is final. The pauses
    between such refusals grow also when calls succeed in between: two programs that read one bot's updates refuse each
    other in turn.

    Args:
        bot: The API client.
        studio: Gives the sentences, and records the connection's problems.
        options: The pauses.
    """

    def __init__(self, bot: Bot, studio: Studio, options: PollingOptions) -> None:
        self._bot = bot
        self._studio = studio
        self._options = options
        self._refused = options.refused()
        self._refused_at = 0.0
        self._webhook_removed = False

    async def call(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call until it succeeds; it must be safe to repeat.

        Raises:
            TelegramAPIError: Telegram refused the call itself.
        """
        return await self._repeat(call, ())

    async def persist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call until it succeeds, whatever Telegram answers: without it the platform would be off."""
        return await self._repeat(call, CALL_ERRORS)

    def report(self, key: str, **params: str) -> None:
        """Report a problem in /readyz until the next call succeeds."""
        self._report(self._studio.text(key, "en", **params))

    async def _repeat(self, call: Callable[[], Awaitable[T]], unexpected: tuple[type[BaseException], ...]) -> T:
        unreachable, refusals = self._options.unreachable(), 0
        while True:
            try:
                result = await call()
            except TelegramRetryAfter as error:
                log.info("Telegram asks to wait %d s", error.retry_after)
                pause: float = error.retry_after
            except REFUSED as error:
                pause, refusals = self._report_refusal("telegram.problem.refused", error), refusals + 1
            except TelegramConflictError as error:
                pause, refusals = await self._conflict(error), refusals + 1
            except UNREACHABLE as error:
                pause = self._report_unreachable(error, unreachable)
            except unexpected as error:
                pause = self._report_unreachable(error, unreachable)
            else:
                if unreachable.tries or refusals:
                    log.info("Telegram answers again")
                self._report(None)
                return result
            await asyncio.sleep(pause)

    async def _conflict(self, error: TelegramConflictError) -> float:
        """Another program reads the updates, or they go to a webhook. A webhook is removed once: its owner may be alive."""
        if "webhook" not in error.message.lower():
            return self._report_refusal("telegram.problem.conflict", error)
        pause = self._report_refusal("telegram.problem.webhook", error)
        if not self._webhook_removed:
            self._webhook_removed = await self._remove_webhook()
        return pause

    def _report_refusal(self, key: str, error: TelegramAPIError) -> float:
        """Report a refusal of the bot itself; returns the seconds to wait."""
        now = time.monotonic()
        if now - self._refused_at > 2 * self._refused.longest:
            self._refused.succeed()
        self._refused_at = now
        problem = self._studio.text(key, "en")
        level = logging.WARNING if self._refused.tries else logging.CRITICAL
        reason, pause = describe(error, self._bot.token), self._refused.fail()
        log.log(level, "Telegram is off: %s Telegram says: %s. Again in %.1f s.", problem, reason, pause)
        self._report(problem)
        return pause

    def _report_unreachable(self, error: BaseException, backoff: ExponentialBackoff) -> float:
        """Report that a call failed; returns the seconds to wait. A single failure is not reported: it usually passes."""
        why = describe(error, self._bot.token)
        if backoff.tries:
            self._report(self._studio.text("telegram.problem.unreachable", "en", why=why))
        pause = backoff.fail()
        log.warning("Telegram can't be reached (%s); again in %.0f s", why, pause)
        return pause

    def _report(self, problem: str | None) -> None:
        self._studio.connection_problem(NAME, problem)

    async def _remove_webhook(self) -> bool:
        try:
            await self._bot.delete_webhook(drop_pending_updates=False, request_timeout=_SECONDS)
        except CALL_ERRORS as error:
            log.warning("the webhook could not be removed: %s", describe(error, self._bot.token))
            return False
        log.warning("the webhook of this bot was removed")
        return True
