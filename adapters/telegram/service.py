"""Telegram as one part of the service: its surface for delivery, and its reader of what people write."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from itertools import product

from aiogram import Bot, Dispatcher
from aiogram.exceptions import TelegramConflictError, TelegramRetryAfter
from aiogram.types import (
    BotCommand,
    BotCommandScopeAllChatAdministrators,
    BotCommandScopeAllGroupChats,
    BotCommandScopeDefault,
    BotCommandScopeUnion,
    ReplyParameters,
    Update,
    User,
)
from aiogram.utils.backoff import Backoff

from adapters.telegram.admins import Admins
from adapters.telegram.answers import Answers
from adapters.telegram.buttons import Buttons
from adapters.telegram.client import check, make_bot
from adapters.telegram.commands import Commands
from adapters.telegram.errands import Errands
from adapters.telegram.faults import CALL_ERRORS, REFUSED, UNREACHABLE, sentence
from adapters.telegram.identity import PLATFORM, locale_of
from adapters.telegram.moves import Moves
from adapters.telegram.pace import Pace
from adapters.telegram.polling import Patience, Polling
from adapters.telegram.surface import TelegramSurface
from adapters.telegram.verbs import Verbs
from bot.model.errors import Refusal, Unavailable
from bot.settings import Settings
from bot.studio import Studio

__all__ = ["TelegramService", "build", "check"]

log = logging.getLogger(__name__)

COMMANDS = ("draw", "history", "search", "favourites", "quota", "cancel", "link", "export", "forget", "help")
IN_GROUPS = ("draw", "history", "quota", "cancel", "help")
FOR_ADMINS = ("draw", "history", "quota", "easel", "cancel", "help")
_LANGUAGES = {"": "en", "zh": "zh_CN"}
_SECONDS = 10


class TelegramService:
    """Telegram as the composition root runs it.

    Args:
        settings: With a token.
        studio: The core.
        pace: Rate limits.
        patience: Pauses of the reader.

    Attributes:
        name: The platform's name in addresses.
        surface: Where delivery speaks.
    """

    name = PLATFORM

    def __init__(self, settings: Settings, studio: Studio, pace: Pace, patience: Patience) -> None:
        self._settings = settings
        self._studio = studio
        self._owners = studio.owners(PLATFORM)
        self._patience = patience
        self.surface = TelegramSurface(studio.profiles, pace)

    async def run(self) -> None:
        """Serve until cancelled. Returns early, after a loud line, when this platform can't go on."""
        # One line for every word that is said in any group is nobody's wish.
        logging.getLogger("aiogram.event").setLevel(logging.WARNING)
        try:
            bot = make_bot(self._settings)
        except Unavailable as error:
            self._off(self._studio.refused(error, "en").status)
            return
        async with bot:
            self.surface.use(bot)
            try:
                await self._read(bot, await self._me(bot))
            except REFUSED:
                self._off(self._studio.text("telegram.check.refused", "en"))
            except TelegramConflictError as error:
                self._off(
                    "Another program reads this bot's messages: stop that one (or delete its webhook), then start "
                    f"Easel again. Telegram says: {error.message}"
                )
            finally:
                self.surface.use(None)

    async def _read(self, bot: Bot, me: User) -> None:
        log.info("Telegram is connected as @%s", me.username)
        refusal: Exception | None = None
        async with asyncio.TaskGroup() as group:
            errands = Errands(bot, group)
            errands.start(self._name_commands(bot), "the list of commands could not be set")
            polling = Polling(bot, self._dispatcher(bot, me, errands), partial(self._sorry, bot), self._patience)
            try:
                await polling.run()
            except (*REFUSED, TelegramConflictError) as error:
                refusal = error
        if refusal is not None:
            raise refusal

    @staticmethod
    def _off(reason: str) -> None:
        log.critical("Telegram is off: %s", reason)

    def _dispatcher(self, bot: Bot, me: User, errands: Errands) -> Dispatcher:
        dispatcher = Dispatcher(disable_fsm=True)
        dispatcher.include_router(Moves(self._studio).router())
        # Verbs first: what is no command of anybody's is taken by the others.
        admins, answers = Admins(bot), Answers(self._studio)
        dispatcher.include_router(Verbs(self._studio, me, self._owners, admins, answers).router())
        dispatcher.include_router(Commands(self._studio, me, self._owners, errands, answers).router())
        dispatcher.include_router(Buttons(self._studio, self.surface, self._owners, errands, admins).router())
        return dispatcher

    async def _me(self, bot: Bot) -> User:
        backoff = Backoff(self._patience.unreachable)
        while True:
            try:
                return await bot.me()
            except REFUSED:
                raise
            except TelegramRetryAfter as error:
                await asyncio.sleep(error.retry_after)
            except UNREACHABLE as error:
                log.warning(
                    "Telegram can't be reached (%s); again in %.0f s",
                    sentence(error, bot.token),
                    backoff.next_delay,
                )
                await backoff.asleep()

    async def _name_commands(self, bot: Bot) -> None:
        scopes: dict[BotCommandScopeUnion, tuple[str, ...]] = {
            BotCommandScopeDefault(): COMMANDS,
            BotCommandScopeAllGroupChats(): IN_GROUPS,
            BotCommandScopeAllChatAdministrators(): FOR_ADMINS,
        }
        for (scope, names), (code, locale) in product(scopes.items(), _LANGUAGES.items()):
            commands = [
                BotCommand(command=name, description=self._studio.text(f"telegram.command.{name}", locale))
                for name in names
            ]
            await bot.set_my_commands(commands, scope, language_code=code or None, request_timeout=_SECONDS)

    async def _sorry(self, bot: Bot, update: Update, refusal: Refusal | None) -> None:
        """Tell whoever sent an update that could not be saved, and why; by hand, since saving is what fails."""
        why = refusal or Unavailable("refusal.unavailable.internal")
        try:
            if update.callback_query is not None:
                query = update.callback_query
                text = self._studio.refused(why, locale_of(query.from_user)).status
                await bot.answer_callback_query(query.id, text=text, show_alert=True, request_timeout=_SECONDS)
            elif update.message is not None:
                message = update.message
                text = self._studio.refused(why, locale_of(message.from_user)).status
                reply = ReplyParameters(message_id=message.message_id, allow_sending_without_reply=True)
                await bot.send_message(message.chat.id, text, reply_parameters=reply, request_timeout=_SECONDS)
        except CALL_ERRORS as error:
            log.warning("nobody could be told: %s", sentence(error, bot.token))


def build(
    settings: Settings, studio: Studio, *, pace: Pace | None = None, patience: Patience | None = None
) -> TelegramService:
    """Build the service; nothing is asked of Telegram before ``run``. Pauses are Telegram's own where none are given."""
    return TelegramService(settings, studio, pace or Pace(), patience or Patience())
