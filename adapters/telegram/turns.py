"""Updates of different people are handled side by side, those of one person in their order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiogram.types import Update

_SLOTS = 8
_PATIENT = 0.5


class _Slot:
    """One of the places for messages that are handled at the same time; given back once."""

    def __init__(self, slots: asyncio.Semaphore, seconds: float) -> None:
        self._slots: asyncio.Semaphore | None = slots
        self._timer = asyncio.get_running_loop().call_later(seconds, self.free)

    def free(self) -> None:
        """Give it back."""
        self._timer.cancel()
        if self._slots is not None:
            self._slots.release()
            self._slots = None


class Turns:
    """Runs a handler for each update.

    A press waits for the earlier presses of its person alone: what it is about was shown before. Only so many messages
    are handled at the same time that a press never waits long for the database; a handler that takes long waits for
    something else, and makes room. A group's move to another id is handled alone.

    Args:
        handle: Never raises but when it is cancelled.
        slots: Messages that are handled at the same time.
        patient: Seconds after which a message makes room for another.
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
