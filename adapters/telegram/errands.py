"""What a handler leaves for later, since it only saves: answers to presses, turned pages. Nothing durable."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine

from aiogram import Bot
from aiogram.exceptions import TelegramRetryAfter

from adapters.telegram.faults import CALL_ERRORS, sentence
from adapters.telegram.render import answer

log = logging.getLogger(__name__)

_ANSWER_SECONDS = 10
_TRIES = 3


class Errands:
    """Small calls whose loss costs nothing; each runs as a task of the group that owns them.

    Args:
        bot: The API client.
        group: Awaits the tasks, and cancels them when the platform stops.
    """

    def __init__(self, bot: Bot, group: asyncio.TaskGroup) -> None:
        self._bot = bot
        self._group = group

    def answer(self, query_id: str, notice: str, *, alert: bool = False) -> None:
        """End a press, so that the button stops spinning; ``alert`` for a sentence that must be read."""

        async def call() -> None:
            for left in reversed(range(_TRIES)):
                try:
                    await self._bot.answer_callback_query(
                        query_id, text=answer(notice) or None, show_alert=alert, request_timeout=_ANSWER_SECONDS
                    )
                except TelegramRetryAfter as error:
                    if not left:
                        raise
                    await asyncio.sleep(error.retry_after)
                else:
                    return

        self.start(call(), "a press could not be answered")

    def start(self, errand: Coroutine[None, None, None], failure: str) -> None:
        """Run an errand; if it fails, ``failure`` and the reason are logged, and that is all."""
        self._group.create_task(self._run(errand, failure))

    async def _run(self, errand: Coroutine[None, None, None], failure: str) -> None:
        try:
            await errand
        except CALL_ERRORS as error:
            log.warning("%s: %s", failure, sentence(error, self._bot.token))
        except Exception:
            log.exception("%s", failure)
