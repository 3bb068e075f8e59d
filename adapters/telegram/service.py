"""Telegram as one part of the service: its surface for delivery, and its reader of what people write."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from itertools import product

from aiogram import Bot, Dispatcher
from aiogram.types import (
    BotCommand,
    BotCommandScopeAllChatAdministrators,
    BotCommandScopeAllGroupChats,
    BotCommandScopeDefault,
    BotCommandScopeUnion,
    User,
)

from adapters.platform import PlatformService
from adapters.telegram.admins import Admins
from adapters.telegram.answers import Answers
from adapters.telegram.apologies import Apologies
from adapters.telegram.buttons import Buttons
from adapters.telegram.client import make_bot
from adapters.telegram.commands import COMMANDS as ALL_COMMANDS
from adapters.telegram.commands import Commands
from adapters.telegram.connection import Connection, Patience
from adapters.telegram.errands import Errands
from adapters.telegram.identity import PLATFORM
from adapters.telegram.missed import Missed
from adapters.telegram.moves import Moves
from adapters.telegram.pace import Pace
from adapters.telegram.polling import Polling
from adapters.telegram.senders import Senders
from adapters.telegram.settings import TelegramSettings
from adapters.telegram.surface import TelegramSurface
from adapters.telegram.verbs import Verbs
from bot.model.errors import Unavailable
from bot.settings import Settings
from bot.studio import Studio

log = logging.getLogger(__name__)

COMMANDS = ("draw", "history", "search", "favourites", "quota", "cancel", "link", "export", "forget", "help")
IN_GROUPS = ("draw", "history", "quota", "cancel", "help")
FOR_ADMINS = ("draw", "history", "quota", "easel", "cancel", "help")
_LANGUAGES = {"": "en", "zh": "zh_CN"}
_SECONDS = 10


class TelegramService(PlatformService):
    """Telegram as `easel serve` runs it.

    Args:
        settings: With a token.
        core: The settings that no single platform owns.
        studio: The core.
        pace: Rate limits.
        patience: Pauses of the reader.

    Attributes:
        name: The platform's name in addresses.
        surface: Where delivery speaks.
    """

    name = PLATFORM
    surface: TelegramSurface

    def __init__(
        self, settings: TelegramSettings, core: Settings, studio: Studio, pace: Pace, patience: Patience
    ) -> None:
        self._settings = settings
        self._core = core
        self._studio = studio
        self._owners = studio.owners(PLATFORM)
        self._pace = pace
        self._patience = patience
        self.surface = TelegramSurface(studio.profiles, pace)

    async def run(self) -> None:
        """Serve until cancelled. Returns early, after a loud line, when the settings can't work."""
        # One line for every word that is said in any group is nobody's wish.
        logging.getLogger("aiogram.event").setLevel(logging.WARNING)
        try:
            bot = make_bot(self._settings, self._core)
        except Unavailable as error:
            self._off(self._studio.refused(error, "en").status)
            return
        async with bot:
            connection = Connection(bot, self._studio, self._patience)
            self.surface.use(bot)
            try:
                await self._read(bot, await connection.ask(bot.me), connection)
            finally:
                self.surface.use(None)

    async def _read(self, bot: Bot, me: User, connection: Connection) -> None:
        log.info("Telegram is connected as @%s", me.username)
        async with asyncio.TaskGroup() as group:
            errands = Errands(bot, group)
            errands.start(self._name_commands(bot, connection), "the list of commands could not be set")
            apologies = Apologies(bot, self._studio, self._pace, errands)
            dispatcher = self._dispatcher(bot, me, errands)
            await Polling(bot, dispatcher, apologies.say, connection, self._patience).run()

    def _off(self, reason: str) -> None:
        log.critical("Telegram is off: %s", reason)
        self._studio.connection_problem(PLATFORM, reason)

    def _dispatcher(self, bot: Bot, me: User, errands: Errands) -> Dispatcher:
        dispatcher = Dispatcher(disable_fsm=True)
        dispatcher.include_router(Moves(self._studio).router())
        # Verbs first: what is no command of anybody's is taken by the others.
        admins, answers = Admins(bot), Answers(self._studio)
        dispatcher.include_router(Senders(self._studio, answers, ALL_COMMANDS).router())
        missed = Missed(self._studio, answers)
        for router in (
            Verbs(self._studio, me, self._owners, admins, answers).router(),
            Commands(self._studio, me, self._owners, errands, answers).router(),
        ):
            router.message.middleware(missed)
            dispatcher.include_router(router)
        dispatcher.include_router(Buttons(self._studio, self.surface, self._owners, errands, admins).router())
        return dispatcher

    async def _name_commands(self, bot: Bot, connection: Connection) -> None:
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
            offer = partial(bot.set_my_commands, commands, scope, language_code=code or None, request_timeout=_SECONDS)
            await connection.ask(offer)


def build(
    settings: TelegramSettings,
    core: Settings,
    studio: Studio,
    *,
    pace: Pace | None = None,
    patience: Patience | None = None,
) -> TelegramService:
    """Build the service; no network access before ``run``. Telegram's own limits and pauses hold where none are given."""
    return TelegramService(settings, core, studio, pace or Pace(), patience or Patience())
