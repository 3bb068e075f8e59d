"""The Telegram service: connects, reads updates in their turn, and gives delivery its surface."""

from __future__ import annotations

import asyncio
import logging
import socket
from functools import partial
from pathlib import Path

from aiogram import Bot, Dispatcher
from aiogram.enums import ChatAction, ChatType
from aiogram.types import Update, User

from adapters.platform import PlatformService
from adapters.telegram.admins import Admins
from adapters.telegram.background import BackgroundCalls, ChatActions, FailureNotices
from adapters.telegram.client import ApiRetrier, PollingOptions, make_bot
from adapters.telegram.commands import (
    COMMANDS,
    ChatMigrations,
    IgnoredSenders,
    MessageCommands,
    offer_menus,
    parse_command,
)
from adapters.telegram.edits import EditedMessages
from adapters.telegram.identity import NAME
from adapters.telegram.inline import InlineQueries, PrivateChats, SentPhotos
from adapters.telegram.membership import Membership
from adapters.telegram.polling import Polling
from adapters.telegram.rate_limit import RateLimiter
from adapters.telegram.registry_commands import CallbackQueries, RegistryCommands
from adapters.telegram.replies import MissedNotices, ReplyPoster
from adapters.telegram.settings import TelegramSettings
from adapters.telegram.surface import TelegramSurface
from adapters.telegram.updates import UpdateHandler
from adapters.telegram.webhook import Webhook, listen
from bot.core.errors import BadInput, Unavailable
from bot.settings import Settings
from bot.studio import Studio

log = logging.getLogger(__name__)


class FirstSigns:
    """Shows at once that a message for the bot has come; its answer may wait for its turn.

    Args:
        me: The bot's own account.
        actions: Shows it.
    """

    def __init__(self, me: User, actions: ChatActions) -> None:
        self._me = me
        self._actions = actions

    def show(self, update: Update) -> None:
        """Show that the bot is at work, where a message is written in private or begins with one of its commands."""
        message = update.message or update.channel_post
        if message is None:
            return
        if message.chat.type != ChatType.PRIVATE:
            line = parse_command(message.text or message.caption or "", self._me.username)
            if line is None or line.name not in COMMANDS:
                return
        thread = message.message_thread_id if message.is_topic_message else None
        self._actions.show(message.chat.id, ChatAction.TYPING, thread)


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
        self._sent = SentPhotos()
        self.surface = TelegramSurface(
            studio.profiles, rate_limiter, self._sent, settings.storage_chat, sign=studio.sign_copy
        )
        self._listening: socket.socket | None = None

    async def start(self) -> None:
        """Listen for the webhook, if there is one. Raises BadInput where the port can't be had."""
        if self._settings.webhook_url is None:
            return
        host, port = self._settings.webhook_host, self._settings.webhook_port
        try:
            self._listening = await listen(host, port)
        except OSError as error:
            reason = error.strerror or str(error)
            raise BadInput("telegram.webhook.port", host=host, port=str(port), reason=reason) from None

    async def stop(self) -> None:
        """Listen no more."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None

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
            try:
                await self._read(bot, await retrier.persist(bot.me), retrier)
            finally:
                self.surface.use(None)
                self._sent.use(None)

    async def _read(self, bot: Bot, me: User, retrier: ApiRetrier) -> None:
        log.info("Telegram is connected as @%s", me.username)
        async with asyncio.TaskGroup() as group:
            background = BackgroundCalls(bot, group)
            actions = ChatActions(bot, self._rate_limiter, background)
            self.surface.use(bot, actions)
            self._sent.use(partial(self._keep_photo, background))
            background.start(offer_menus(bot, self._studio, retrier), "the list of commands could not be set")
            failure_notices = FailureNotices(bot, self._studio, self._rate_limiter, background)
            handler = UpdateHandler(
                bot,
                self._dispatcher(bot, me, background),
                arrived=FirstSigns(me, actions).show,
                apologise=failure_notices.send,
                options=self._options,
            )
            if self._settings.webhook_url is None:
                await Polling(bot, handler, retrier, self._options).run()
            else:
                assert self._listening is not None, "the service was not started"
                webhook = Webhook(self._settings.webhook_url, bot, handler, retrier, self._options)
                await webhook.run(self._listening)

    def _keep_photo(self, background: BackgroundCalls, path: Path, remote: str) -> None:
        keep = self._studio.remember_sent(NAME, path, remote)
        background.start(keep, "the id of a photo could not be kept")

    def _off(self, reason: str) -> None:
        log.critical("Telegram is off: %s", reason)
        self._studio.connection_problem(NAME, reason)

    def _dispatcher(self, bot: Bot, me: User, background: BackgroundCalls) -> Dispatcher:
        dispatcher = Dispatcher(disable_fsm=True)
        dispatcher.include_router(ChatMigrations(self._studio).router())
        # Table commands first; the other handlers take what matches none of them.
        admins, replies = Admins(bot), ReplyPoster(self._studio)
        dispatcher.include_router(IgnoredSenders(self._studio, replies, COMMANDS).router())
        missed = MissedNotices(self._studio, replies)
        for router in (
            RegistryCommands(self._studio, me, self._owners, admins, replies).router(),
            MessageCommands(
                self._studio, me, self._owners, background=background, replies=replies, admins=admins
            ).router(),
        ):
            router.message.middleware(missed)
            router.channel_post.middleware(missed)
            dispatcher.include_router(router)
        dispatcher.include_router(EditedMessages(self._studio, me, self._owners, replies).router())
        dispatcher.include_router(Membership(self._studio).router())
        chats = PrivateChats(bot) if self._settings.storage_chat is None else None
        dispatcher.include_router(
            InlineQueries(self._studio, me, self._owners, background=background, chats=chats).router()
        )
        dispatcher.include_router(
            CallbackQueries(
                self._studio, me, self.surface, owners=self._owners, background=background, admins=admins
            ).router()
        )
        return dispatcher


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
