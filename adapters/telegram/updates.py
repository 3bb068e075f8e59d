"""Updates of any transport: read leniently, handled side by side by chat, and tried again until they are saved."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from aiogram import Bot, Dispatcher
from aiogram.types import Update
from pydantic import ValidationError

from adapters.telegram.client import PollingOptions
from adapters.telegram.identity import written
from bot.core.errors import Unavailable

log = logging.getLogger(__name__)

KINDS = [
    "message",
    "edited_message",
    "channel_post",
    "callback_query",
    "inline_query",
    "chosen_inline_result",
    "my_chat_member",
]
"""The kinds of updates that are requested."""

_SLOTS = 8
_PATIENT = 0.5

_HERE = frozenset({"creator", "administrator", "member", "restricted"})


def read_update(raw: object, bot: Bot) -> Update | None:
    """Read an update as Telegram sends it. Unknown and missing fields of members are no obstacle.

    Returns:
        The update; with nothing but its id where it can't be read, None where it has not even one.
    """
    try:
        return Update.model_validate(raw, context={"bot": bot})
    except ValidationError as unreadable:
        if not isinstance(raw, dict) or not isinstance(raw.get("update_id"), int):
            return None
        try:
            return Update.model_validate(_with_plain_members(raw), context={"bot": bot})
        except (ValueError, TypeError, KeyError):  # pydantic's error is a ValueError
            log.warning(
                "update %d can't be read and is passed over: %d of its fields are not as the library knows them",
                raw["update_id"],
                unreadable.error_count(),
            )
            return Update(update_id=raw["update_id"])


def _with_plain_members(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a change of the bot's membership with members that have nothing but a user and whether they are there."""
    changed = dict(raw["my_chat_member"])
    for name in ("old_chat_member", "new_chat_member"):
        member = changed[name]
        changed[name] = {"status": "member" if member["status"] in _HERE else "left", "user": member["user"]}
    return {"update_id": raw["update_id"], "my_chat_member": changed}


class UpdateHandler:
    """Handles an update until it is saved.

    Args:
        bot: The API client.
        dispatcher: Its handlers return once everything is saved. They raise Unavailable while the database can't be
            written; any other exception is a failure.
        arrived: Called at once for each update that has come.
        apologise: Tells the sender of an update about its failure: the database's error, or None for any other.
        options: Pauses.
    """

    def __init__(
        self,
        bot: Bot,
        dispatcher: Dispatcher,
        *,
        arrived: Callable[[Update], None],
        apologise: Callable[[Update, Unavailable | None], None],
        options: PollingOptions,
    ) -> None:
        self._bot = bot
        self._dispatcher = dispatcher
        self.arrived = arrived
        self._apologise = apologise
        self._options = options

    async def handle(self, update: Update, crowded: Callable[[], bool]) -> None:
        """Handle one update; raises nothing but CancelledError.

        It goes on while the database can't be written, until ``crowded`` says that the update keeps others from coming.
        """
        backoff = self._options.failing()
        while any(getattr(update, kind) for kind in KINDS):
            try:
                await self._dispatcher.feed_update(self._bot, update)
            except Unavailable as error:
                first, pause = not backoff.tries, backoff.fail()
                log.warning("update %d can't be saved (%s); again in %.1f s", update.update_id, error.key, pause)
                if first:
                    self._apologise(update, error)
                elif crowded():
                    break  # the sender was told; make room for later updates
                await asyncio.sleep(pause)
            except Exception:
                log.exception("update %d failed and is passed over", update.update_id)
                self._apologise(update, None)
                break
            else:
                break


class _Releasable(Protocol):
    def release(self) -> None: ...


class _Slot:
    """A slot of something that is taken while an update is handled; released once, at the latest after some seconds."""

    def __init__(self, taken: _Releasable, seconds: float) -> None:
        self._taken: _Releasable | None = taken
        self._timer = asyncio.get_running_loop().call_later(seconds, self.free)

    def free(self) -> None:
        """Release the slot."""
        self._timer.cancel()
        if self._taken is not None:
            self._taken.release()
            self._taken = None


class _Rush:
    """Whether urgent updates are handled."""

    def __init__(self) -> None:
        self._number = 0
        self.over = asyncio.Event()
        self.over.set()

    def begin(self) -> None:
        """One more is handled."""
        self._number += 1
        self.over.clear()

    def release(self) -> None:
        """One of them is done."""
        self._number -= 1
        if not self._number:
            self.over.set()


class UpdateScheduler:
    """Runs a handler for each update; what one person writes in one chat is handled in its order.

    A press waits only for earlier presses of the same person, and messages begin after it. The number of concurrent
    messages is limited, so that a press never waits long for the database. A handler that takes long gives its slot
    back, since it waits for something else. A group's change of id is handled alone.

    Args:
        handle: Raises nothing but CancelledError.
        slots: Messages that are handled concurrently.
        patient: Seconds after which a message gives its slot back, and begins though a press is still handled.
    """

    def __init__(
        self, handle: Callable[[Update], Awaitable[None]], slots: int = _SLOTS, patient: float = _PATIENT
    ) -> None:
        self._handle = handle
        self._slots = asyncio.Semaphore(slots)
        self._rush = _Rush()
        self._patient = patient
        self._last: dict[tuple[str | int, ...], asyncio.Task[None]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._alone: asyncio.Task[None] | None = None

    def begin(self, update: Update, group: asyncio.TaskGroup) -> asyncio.Task[None]:
        """Handle an update as a task of the group, when its turn comes; returns the task."""
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
        return task

    async def _turn(self, update: Update, before: set[asyncio.Task[None]]) -> None:
        if before:
            await asyncio.wait(before)
        if is_urgent(update):
            self._rush.begin()
            slot = _Slot(self._rush, self._patient)
        else:
            await self._slots.acquire()
            slot = _Slot(self._slots, 2 * self._patient)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patient):
                    await self._rush.over.wait()
        try:
            await self._handle(update)
        finally:
            slot.free()

    def _forget(self, key: tuple[str | int, ...], task: asyncio.Task[None]) -> None:
        if self._last.get(key) is task:
            del self._last[key]

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._alone is task:
            self._alone = None


def is_urgent(update: Update) -> bool:
    """Whether somebody waits at the screen for the answer."""
    return update.callback_query is not None or update.inline_query is not None


def _key(update: Update) -> tuple[str | int, ...]:
    if update.callback_query is not None:
        return "press", update.callback_query.from_user.id
    if update.inline_query is not None:
        return "query", update.inline_query.from_user.id
    if update.chosen_inline_result is not None:
        return "chosen", update.chosen_inline_result.from_user.id
    if update.my_chat_member is not None:
        return "member", update.my_chat_member.chat.id
    message = written(update)
    if message is None:
        return "update", update.update_id
    writer = message.sender_chat or message.from_user or message.chat
    return "message", message.chat.id, writer.id
