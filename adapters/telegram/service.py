"""Telegram as one part of the service: its surface for delivery, and its reader of what people write."""

from __future__ import annotations

import asyncio
import logging

from aiogram import Bot, Dispatcher
from aiogram.exceptions import TelegramConflictError, TelegramRetryAfter
from aiogram.types import BotCommand, Update, User
from aiogram.utils.backoff import Backoff

from adapters.telegram.admins import Admins
from adapters.telegram.buttons import Buttons
from adapters.telegram.client import REFUSAL, make_bot
from adapters.telegram.commands import Commands
from adapters.telegram.errands import Errands
from adapters.telegram.faults import CALL_ERRORS, REFUSED, UNREACHABLE, sentence
from adapters.telegram.identity import locale_of
from adapters.telegram.pace import Pace
from adapters.telegram.polling import Patience, Polling
from adapters.telegram.surface import TelegramSurface
from bot.settings import Settings
from bot.studio import Studio

log = logging.getLogger(__name__)

COMMANDS = ("draw", "history", "quota", "cancel", "help")
_LANGUAGES = {"": "en", "zh": "zh_CN"}
_SECONDS = 10


def build(
    settings: Settings, studio: Studio, *, pace: Pace | None = None, patience: Patience | None = None
) -> TelegramService:
    """Build the platform; nothing is sent yet.

    Args:
        settings: With a token.
        studio: The core.
        pace: Rate limits, where they are not Telegram's own.
        patience: Pauses, where they are not the usual ones.

    Raises:
        TokenRefused: The token can't be one.
    """
    return TelegramService(
        make_bot(settings), studio, frozenset(settings.telegram_owners), pace or Pace(), patience or Patience()
    )


class TelegramService:
    """The running platform.

    Attributes:
        surface: What delivery speaks to.
    """

    def __init__(self, bot: Bot, studio: Studio, owners: frozenset[str], pace: Pace, patience: Patience) -> None:
        self._bot = bot
        self._studio = studio
        self._owners = owners
        self._patience = patience
        self.surface = TelegramSurface(bot, studio.profiles, pace)

    async def run(self) -> None:
        """Read until cancelled. Returns early, after a loud log line, when this platform can't go on."""
        try:
            me = await self._me()
        except REFUSED:
            log.error("Telegram is off. %s", REFUSAL)
            return
        log.info("Telegram: reading as @%s", me.username)
        async with asyncio.TaskGroup() as group:
            errands = Errands(self._bot, group)
            errands.start(self._name_commands(), "the list of commands could not be set")
            dispatcher = self._dispatcher(me, errands)
            try:
                await Polling(self._bot, dispatcher, self._sorry, self._patience).run()
            except REFUSED:
                log.error("Telegram is off. %s", REFUSAL)
            except TelegramConflictError as error:
                log.error(
                    "Telegram is off. Another program reads this bot's messages: stop that one (or delete its webhook), "
                    "then start Easel again. Telegram says: %s",
                    error.message,
                )

    async def aclose(self) -> None:
        """Close the connections; after delivery has ended."""
        await self._bot.session.close()

    def _dispatcher(self, me: User, errands: Errands) -> Dispatcher:
        dispatcher = Dispatcher(disable_fsm=True)
        dispatcher.include_router(Commands(self._studio, me, self._owners, Admins(self._bot), errands).router())
        dispatcher.include_router(Buttons(self._studio, self.surface, self._owners, errands).router())
        return dispatcher

    async def _me(self) -> User:
        backoff = Backoff(self._patience.unreachable)
        while True:
            try:
                return await self._bot.me()
            except REFUSED:
                raise
            except TelegramRetryAfter as error:
                await asyncio.sleep(error.retry_after)
            except UNREACHABLE as error:
                log.warning(
                    "Telegram can't be reached (%s); again in %.0f s",
                    sentence(error, self._bot.token),
                    backoff.next_delay,
                )
                await backoff.asleep()

    async def _name_commands(self) -> None:
        for code, locale in _LANGUAGES.items():
            commands = [
                BotCommand(command=name, description=self._studio.text(f"telegram.command.{name}", locale))
                for name in COMMANDS
            ]
            await self._bot.set_my_commands(commands, language_code=code or None, request_timeout=_SECONDS)

    async def _sorry(self, update: Update) -> None:
        """Tell whoever sent an update that could not be saved; by hand, since saving is what fails."""
        try:
            if update.callback_query is not None:
                query = update.callback_query
                text = self._studio.text("telegram.sorry", locale_of(query.from_user))
                await self._bot.answer_callback_query(query.id, text=text, show_alert=True, request_timeout=_SECONDS)
            elif update.message is not None:
                message = update.message
                text = self._studio.text("telegram.sorry", locale_of(message.from_user))
                await message.reply(text, allow_sending_without_reply=True)
        except CALL_ERRORS as error:
            log.warning("nobody could be told: %s", sentence(error, self._bot.token))
