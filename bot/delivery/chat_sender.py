"""Syncs the messages of one chat one by one, the most urgent first, at the pace that the chat allows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from bot.core.errors import Unavailable
from bot.core.ports import Clock, RetryLater
from bot.core.waits import ExponentialBackoff
from bot.delivery.store import MessageItem

log = logging.getLogger(__name__)

_FIRST_PAUSE = 2.0
LONGEST_PAUSE = 300.0
"""First and longest pause between two tries of a message that keeps failing, in seconds."""

FETCHED_EVERY = 6.0
"""Seconds for one requested file in a chat. The rest of the chat's rate limit is kept for finished pictures."""

FETCHED_AT_ONCE = 4
"""Most requested files in a burst after a pause."""

_LEAST_PAUSE = 0.1
"""Shortest pause after RetryLater, in seconds."""


class Urgency(IntEnum):
    """The order of a chat's messages: finished pictures, new cards and notices, requested files, progress, positions."""

    FINAL = 0
    NEW = 1
    FETCHED = 2
    PROGRESS = 3
    WAITING = 4


class Sync(Protocol):
    """Brings one message up to date; see ``MessageSync``."""

    async def sync(self, message_id: int, item: MessageItem | None = None) -> int:
        """Return how many messages the platform was sent. Raises RetryLater, or any other exception when it failed."""


@dataclass(slots=True)
class _Entry:
    """A message that is to be synced.

    Attributes:
        urgency: How urgent it is.
        item: What was just read of it; None once anything was awaited since, so that it is read again.
        backoff: The pauses after failures.
        not_before: When it may be tried again, by the monotonic clock.
    """

    urgency: Urgency
    item: MessageItem | None = None
    backoff: ExponentialBackoff = field(default_factory=lambda: ExponentialBackoff(_FIRST_PAUSE, LONGEST_PAUSE))
    not_before: float = 0.0


class ChatSender:
    """Syncs the messages of one chat, the most urgent first. A message that is requested twice is synced once."""

    def __init__(self, sync: Sync, pause: float, clock: Clock, wait: Callable[[], float] = lambda: 0.0) -> None:
        """Args:
        sync: Brings a message up to date.
        pause: Shortest time between two calls to the platform, in seconds.
        clock: Time.
        wait: Returns the seconds after which the platform's limits allow a message in this chat; 0 for now.
        """
        self._wait = wait
        self._sync = sync
        self._pause = pause
        self._clock = clock
        self._entries: dict[int, _Entry] = {}
        self._next_at = 0.0
        # When the requested files that were sent are paid for, at one in FETCHED_EVERY seconds.
        self._fetched_at = 0.0
        self._arrived = asyncio.Event()
        self._stopping = False

    def request(self, message_id: int, urgency: Urgency, item: MessageItem | None = None) -> None:
        """Sync this message soon; ``item`` is what was just read of it, if it was."""
        entry = self._entries.setdefault(message_id, _Entry(urgency))
        entry.item = item
        if urgency < entry.urgency:
            entry.urgency, entry.not_before = urgency, 0.0
        self._arrived.set()

    async def run(self) -> None:
        """Work until no message is requested and every pause is over, or until ``stop``."""
        while not self._stopping:
            wait = self._seconds_left()
            if wait > 0:
                await self._sleep(wait)
            elif self._entries:
                await self._sync_next()
            else:
                return

    def stop(self) -> None:
        """Begin nothing more; ``run`` returns after the current message."""
        self._stopping = True
        self._arrived.set()

    def _seconds_left(self) -> float:
        """Return the seconds until a message may be synced, or without messages, until every pause is over."""
        soonest = min((self._due_at(entry) for entry in self._entries.values()), default=self._fetched_at)
        return max(self._next_at, soonest) - self._clock.monotonic()

    def _due_at(self, entry: _Entry) -> float:
        """Return when a message may be synced, by the monotonic clock."""
        if entry.urgency is not Urgency.FETCHED:
            return entry.not_before
        return max(entry.not_before, self._fetched_at - (FETCHED_AT_ONCE - 1) * FETCHED_EVERY)

    async def _sleep(self, seconds: float) -> None:
        """Wait this long, or until another message is requested."""
        self._forget_items()
        self._arrived.clear()
        if not self._stopping:
            await self._clock.wait(self._arrived, seconds)

    async def _sync_next(self) -> None:
        now = self._clock.monotonic()
        due = [
            (entry.urgency, n, id_)
            for n, (id_, entry) in enumerate(self._entries.items())
            if self._due_at(entry) <= now
        ]
        message_id = min(due)[2]
        entry = self._entries[message_id]
        # Progress is left out by the surface where the limits are short; nothing of it has to wait for them.
        if entry.urgency <= Urgency.FETCHED and (seconds := self._wait()) > 0:
            self._next_at = now + max(seconds, _LEAST_PAUSE)
            return
        del self._entries[message_id]
        try:
            try:
                sent = await self._sync.sync(message_id, entry.item)
            finally:
                # Also what was requested meanwhile, this message too, may have changed by this.
                self._forget_items()
            if not sent:
                return
            if entry.urgency is Urgency.FETCHED:
                self._fetched_at = max(self._fetched_at, self._clock.monotonic()) + sent * FETCHED_EVERY
        except RetryLater as later:
            self._retry(message_id, entry)
            self._next_at = self._clock.monotonic() + max(later.seconds, _LEAST_PAUSE)
            return
        except Exception as e:  # whatever a platform's library raises, the chat's other messages go on
            entry.not_before = self._clock.monotonic() + entry.backoff.fail()
            self._retry(message_id, entry)
            if isinstance(e, Unavailable):
                # The database logs its own fault once; every message of every chat may wait for it.
                log.debug("message %d could not be shown (%s)", message_id, e.key)
                return
            log.exception("message %d could not be shown; try %d comes later", message_id, entry.backoff.tries + 1)
        self._next_at = self._clock.monotonic() + self._pause

    def _forget_items(self) -> None:
        """Have the messages that wait read again: they may have changed by the time that it is their turn."""
        for entry in self._entries.values():
            entry.item = None

    def _retry(self, message_id: int, entry: _Entry) -> None:
        newer = self._entries.setdefault(message_id, entry)
        if newer is not entry:
            newer.backoff, newer.not_before = entry.backoff, entry.not_before
            newer.urgency = min(newer.urgency, entry.urgency)
