"""The Telegram service: connects, registers commands, reads updates, and gives delivery its surface."""

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
from adapters.telegram.background import BackgroundCalls, FailureNotices
from adapters.telegram.client import ApiRetrier, PollingOptions, make_bot
from adapters.telegram.commands import COMMANDS as ALL_COMMANDS
from adapters.telegram.commands import ChatMigrations, IgnoredSenders, MessageCommands
from adapters.telegram.identity import NAME
from adapters.telegram.polling import Polling
from adapters.telegram.rate_limit import RateLimiter
from adapters.telegram.registry_commands import CallbackQueries, RegistryCommands
from adapters.telegram.replies import MissedNotices, ReplyPoster
from adapters.telegram.settings import TelegramSettings
from adapters.telegram.surface import TelegramSurface
from bot.commands.model import Permission
from bot.core.errors import Unavailable
from bot.features import COMMANDS
from bot.settings import Settings
from bot.studio import Studio

log = logging.getLogger(__name__)


def _menu(*permissions: Permission, personal: bool) -> tuple[str, ...]:
    listed = [c for c in COMMANDS.typed if c.listed and c.permission in permissions and (personal or not c.personal)]
    words = dict.fromkeys(command.name.partition(" ")[0] for command in listed)
    return ("draw", "history", *words, "cancel", "help")


IN_PRIVATE = _menu(Permission.ANYBODY, personal=True)
IN_GROUPS = _menu(Permission.ANYBODY, personal=False)
FOR_ADMINS = _menu(Permission.ANYBODY, Permission.ADMIN, personal=False)
"""What Telegram's menu lists in private chats, in groups, and there for admins."""

_LANGUAGES = {"": "en", "zh": "zh_CN"}
_SECONDS = 10


class TelegramService(PlatformService):
    """Telegram as `easel serve` runs it.

    Args:
        settings: With a token.
        core: The settings that no single platform owns.
        studio: The core.
        rate_limiter: Rate limits.
        options: Timeouts and pauses of polling.

    Attributes:
        name: The platform's name in addresses.
        surface: Where delivery sends cards.
    """

    name = NAME
    surface: TelegramSurface

    def __init__(
        self,
        settings: TelegramSettings,
        core: Settings,
        studio: Studio,
        rate_limiter: RateLimiter,
        options: PollingOptions,
    ) -> None:
        self._settings = settings
        self._core = core
        self._studio = studio
        self._owners = studio.owners(NAME)
        self._rate_limiter = rate_limiter
        self._options = options
        self.surface = TelegramSurface(studio.profiles, rate_limiter)

    async def run(self) -> None:
        """Serve until cancelled. Returns early, after a critical log line, when the settings can't work."""
        # aiogram logs a line for every update, also for messages in groups that are not for the bot.
        logging.getLogger("aiogram.event").setLevel(logging.WARNING)
        try:
            bot = make_bot(self._settings, self._core)
        except Unavailable as error:
            self._off(self._studio.refused(error, "en").status)
            return
        async with bot:
            retrier = ApiRetrier(bot, self._studio, self._options)
            self.surface.use(bot)
            try:
                await self._read(bot, await retrier.call(bot.me), retrier)
            finally:
                self.surface.use(None)

    async def _read(self, bot: Bot, me: User, retrier: ApiRetrier) -> None:
        log.info("Telegram is connected as @%s", me.username)
        async with asyncio.TaskGroup() as group:
            background = BackgroundCalls(bot, group)
            background.start(self._name_commands(bot, retrier), "the list of commands could not be set")
            failure_notices = FailureNotices(bot, self._studio, self._rate_limiter, background)
            dispatcher = self._dispatcher(bot, me, background)
            await Polling(bot, dispatcher, failure_notices.send, retrier, self._options).run()

    def _off(self, reason: str) -> None:
        log.critical("Telegram is off: %s", reason)
        self._studio.connection_problem(NAME, reason)

    def _dispatcher(self, bot: Bot, me: User, background: BackgroundCalls) -> Dispatcher:
        dispatcher = Dispatcher(disable_fsm=True)
        dispatcher.include_router(ChatMigrations(self._studio).router())
        # Table commands first; the other handlers take what matches none of them.
        admins, replies = Admins(bot), ReplyPoster(self._studio)
        dispatcher.include_router(IgnoredSenders(replies, ALL_COMMANDS).router())
        missed = MissedNotices(self._studio, replies)
        for router in (
            RegistryCommands(self._studio, me, self._owners, admins, replies).router(),
            MessageCommands(self._studio, me, self._owners, background, replies).router(),
        ):
            router.message.middleware(missed)
            dispatcher.include_router(router)
        dispatcher.include_router(
            CallbackQueries(
                self._studio, me, self.surface, owners=self._owners, background=background, admins=admins
            ).router()
        )
        return dispatcher

    async def _name_commands(self, bot: Bot, retrier: ApiRetrier) -> None:
        scopes: dict[BotCommandScopeUnion, tuple[str, ...]] = {
            BotCommandScopeDefault(): IN_PRIVATE,
            BotCommandScopeAllGroupChats(): IN_GROUPS,
            BotCommandScopeAllChatAdministrators(): FOR_ADMINS,
        }
        for (scope, names), (code, locale) in product(scopes.items(), _LANGUAGES.items()):
            commands = [
                BotCommand(command=name, description=self._studio.text(f"telegram.command.{name}", locale))
                for name in names
            ]
            offer = partial(bot.set_my_commands, commands, scope, language_code=code or None, request_timeout=_SECONDS)
            await retrier.call(offer)


def build(
    settings: TelegramSettings,
    core: Settings,
    studio: Studio,
    *,
    rate_limiter: RateLimiter | None = None,
    options: PollingOptions | None = None,
) -> TelegramService:
    """Build the service; no network access before ``run``.

    Telegram's own limits and pauses hold where none are given.
    """
    return TelegramService(settings, core, studio, rate_limiter or RateLimiter(), options or PollingOptions())
