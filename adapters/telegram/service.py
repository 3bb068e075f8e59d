"""The Telegram service: connects, reads updates in their turn, and gives delivery its surface."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from aiogram import Bot, Dispatcher
from aiogram.exceptions import ClientDecodeError
from aiogram.types import (
    Update,
    User,
)
from pydantic import ValidationError

from adapters.platform import PlatformService
from adapters.telegram.admins import Admins
from adapters.telegram.background import BackgroundCalls, FailureNotices
from adapters.telegram.client import ApiRetrier, PollingOptions, make_bot
from adapters.telegram.commands import COMMANDS, ChatMigrations, IgnoredSenders, MessageCommands, offer_menus
from adapters.telegram.identity import NAME
from adapters.telegram.rate_limit import RateLimiter
from adapters.telegram.registry_commands import CallbackQueries, RegistryCommands
from adapters.telegram.replies import MissedNotices, ReplyPoster
from adapters.telegram.settings import TelegramSettings
from adapters.telegram.surface import TelegramSurface
from bot.core.errors import Unavailable
from bot.settings import Settings
from bot.studio import Studio

log = logging.getLogger(__name__)

KINDS = ["message", "callback_query"]
"""The kinds of updates that are requested."""

PAGE = 100
"""Most updates in one answer (https://core.telegram.org/bots/api#getupdates)."""

_SHARE = PAGE // 10
_FIRST_LOOK, _LAST_LOOK = 0.1, 1.0

_SLOTS = 8
_PATIENT = 0.5


class Polling:
    """Reads a bot's updates.

    Args:
        bot: The API client.
        dispatcher: Its handlers return once everything is saved. They raise Unavailable while the database can't be
            written; any other exception is a failure.
        apologise: Tells the sender of an update about its failure: the database's error, or None for any other.
        retrier: Repeats calls until Telegram answers.
        options: Pauses.
    """

    def __init__(
        self,
        bot: Bot,
        dispatcher: Dispatcher,
        apologise: Callable[[Update, Unavailable | None], None],
        retrier: ApiRetrier,
        options: PollingOptions,
    ) -> None:
        self._bot = bot
        self._dispatcher = dispatcher
        self._apologise = apologise
        self._retrier = retrier
        self._options = options
        self._window = UpdateWindow()
        self._turns = UpdateScheduler(self._handle)

    async def run(self) -> None:
        """Read until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                updates = await self._retrier.call(self._fetch)
                fresh = [update for update in updates if self._window.begin(update.update_id)]
                # Presses first: their people are waiting at the screen.
                for update in sorted(fresh, key=lambda update: update.callback_query is None):
                    self._turns.begin(update, group)
                await self._window.ready()

    async def _fetch(self) -> list[Update]:
        try:
            return await self._bot.get_updates(
                offset=self._window.offset,
                timeout=self._options.poll,
                allowed_updates=KINDS,
                request_timeout=self._options.poll + self._options.answer,
            )
        except ClientDecodeError as error:
            if readable := self._readable(error):
                return readable
            raise

    def _readable(self, error: ClientDecodeError) -> list[Update]:
        """Return the updates of a response that the library rejects as a whole; unreadable ones have nothing but an id."""
        if not isinstance(error.data, dict) or not isinstance(error.data.get("result"), list):
            return []
        updates = []
        for raw in error.data["result"]:
            try:
                updates.append(Update.model_validate(raw, context={"bot": self._bot}))
            except ValidationError as unreadable:
                if not isinstance(raw, dict) or not isinstance(raw.get("update_id"), int):
                    continue
                log.warning(
                    "update %d can't be read and is passed over: %d of its fields are not as the library knows them",
                    raw["update_id"],
                    unreadable.error_count(),
                )
                updates.append(Update(update_id=raw["update_id"]))
        return updates

    async def _handle(self, update: Update) -> None:
        """Handle one update. It stays unconfirmed only while the database can't be written."""
        backoff = self._options.failing()
        while any(getattr(update, kind) for kind in KINDS):
            try:
                await self._dispatcher.feed_update(self._bot, update)
            except Unavailable as error:
                first, pause = not backoff.tries, backoff.fail()
                log.warning("update %d can't be saved (%s); again in %.1f s", update.update_id, error.key, pause)
                if first:
                    self._apologise(update, error)
                elif self._window.crowded:
                    break  # the sender was told; make room for later updates
                await asyncio.sleep(pause)
            except Exception:
                log.exception("update %d failed and is passed over", update.update_id)
                self._apologise(update, None)
                break
            else:
                break
        self._window.finish(update.update_id)


class _Slot:
    """A slot for a message that is handled; released once."""

    def __init__(self, slots: asyncio.Semaphore, seconds: float) -> None:
        self._slots: asyncio.Semaphore | None = slots
        self._timer = asyncio.get_running_loop().call_later(seconds, self.free)

    def free(self) -> None:
        """Release the slot."""
        self._timer.cancel()
        if self._slots is not None:
            self._slots.release()
            self._slots = None


class UpdateScheduler:
    """Runs a handler for each update; updates of one person are handled in their order.

    A press waits only for earlier presses of the same person. The number of concurrent messages is limited, so that a
    press never waits long for the database. A handler that takes long gives its slot back, since it waits for something
    else. A group's change of id is handled alone.

    Args:
        handle: Raises nothing but CancelledError.
        slots: Messages that are handled concurrently.
        patient: Seconds after which a message gives its slot back.
    """

    def __init__(
        self, handle: Callable[[Update], Awaitable[None]], slots: int = _SLOTS, patient: float = _PATIENT
    ) -> None:
        self._handle = handle
        self._slots = asyncio.Semaphore(slots)
        self._patient = patient
        self._last: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._alone: asyncio.Task[None] | None = None

    def begin(self, update: Update, group: asyncio.TaskGroup) -> None:
        """Handle an update as a task of the group, when its turn comes."""
        message = update.message
        if message is not None and (message.migrate_to_chat_id or message.migrate_from_chat_id):
            task = self._alone = group.create_task(self._turn(update, set(self._running)))
            self._last.clear()
        else:
            key = _key(update)
            before = {found for found in (self._last.get(key), self._alone) if found is not None}
            task = self._last[key] = group.create_task(self._turn(update, before))
            task.add_done_callback(lambda done: self._forget(key, done))
        self._running.add(task)
        task.add_done_callback(self._ended)

    async def _turn(self, update: Update, before: set[asyncio.Task[None]]) -> None:
        if before:
            await asyncio.wait(before)
        if update.callback_query is not None:
            await self._handle(update)
            return
        await self._slots.acquire()
        slot = _Slot(self._slots, self._patient)
        try:
            await self._handle(update)
        finally:
            slot.free()

    def _forget(self, key: tuple[str, int], task: asyncio.Task[None]) -> None:
        if self._last.get(key) is task:
            del self._last[key]

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._alone is task:
            self._alone = None


def _key(update: Update) -> tuple[str, int]:
    if update.callback_query is not None:
        return "press", update.callback_query.from_user.id
    message = update.message
    if message is None:
        return "update", update.update_id
    writer = message.sender_chat or message.from_user or message.chat
    return "message", writer.id


class UpdateWindow:
    """Tracks the offset of the next request.

    A request with an offset confirms all earlier updates, so they must be finished.

    Attributes:
        offset: The oldest update that is not finished, or the one after the last; None before the first answer.
    """

    def __init__(self) -> None:
        self.offset: int | None = None
        self._finished: dict[int, bool] = {}  # in the order of arrival
        # A response in flight repeats updates that were finished meanwhile. Ids may restart after a week, so they are
        # not compared with the offset.
        self._confirmed: deque[int] = deque(maxlen=2 * PAGE)
        self._passed = 0
        self._pause = _FIRST_LOOK
        self._moved = asyncio.Event()

    def begin(self, update_id: int) -> bool:
        """Record a received update; returns False if it was received before."""
        if update_id in self._finished or update_id in self._confirmed:
            return False
        self._finished[update_id] = False
        if self.offset is None:
            self.offset = update_id
        self._pause = _FIRST_LOOK
        return True

    def finish(self, update_id: int) -> None:
        """Record that an update is handled and saved."""
        self._finished[update_id] = True
        for oldest in list(self._finished):
            if not self._finished[oldest]:
                break
            del self._finished[oldest]
            self._confirmed.append(oldest)
            self.offset = oldest + 1
            self._passed += 1
        if not self._finished or self._passed >= _SHARE:
            self._moved.set()

    @property
    def crowded(self) -> bool:
        """Whether the unfinished updates nearly fill what Telegram returns, so that no new ones may come."""
        return len(self._finished) > PAGE // 2

    async def ready(self) -> None:
        """Wait until another request may return new updates.

        While updates are unfinished, Telegram answers at once and repeats them. The next request is made when a tenth
        of a page is finished, or after a pause.
        """
        if self._finished and self._passed < _SHARE:
            try:
                async with asyncio.timeout(self._pause):
                    await self._moved.wait()
            except TimeoutError:
                self._pause = min(_LAST_LOOK, self._pause * 2)
        self._moved.clear()
        self._passed = 0


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
            background.start(offer_menus(bot, self._studio, retrier), "the list of commands could not be set")
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
        dispatcher.include_router(IgnoredSenders(replies, COMMANDS).router())
        missed = MissedNotices(self._studio, replies)
        for router in (
            RegistryCommands(self._studio, me, self._owners, admins, replies).router(),
            MessageCommands(
                self._studio, me, self._owners, background=background, replies=replies, admins=admins
            ).router(),
        ):
            router.message.middleware(missed)
            dispatcher.include_router(router)
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
