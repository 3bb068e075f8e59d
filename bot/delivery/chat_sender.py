"""One chat's deliveries, one after another: the most urgent first, no faster than the chat allows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum

from bot.core.errors import Unavailable
from bot.core.ports import Clock, RetryLater
from bot.core.waits import until

LONGEST_PAUSE = 300.0
"""Seconds between two tries of something that keeps failing."""

FETCHED_EVERY = 6.0
"""Seconds from one fetched file to the next in a chat: what a chat takes in a minute is kept for pictures that are due."""

FETCHED_AT_ONCE = 4
"""Most fetched files in a burst after a pause."""

_LEAST = 0.1
"""Seconds, even when a platform asks for none."""

log = logging.getLogger(__name__)


class Urgency(IntEnum):
    """What goes first: finished pictures, then new cards and answers, then files that somebody fetches, then progress,
    then places in the queue.
    """

    FINAL = 0
    NEW = 1
    FETCHED = 2
    PROGRESS = 3
    WAITING = 4


@dataclass(slots=True)
class _Entry:
    urgency: Urgency
    failures: int = 0
    not_before: float = 0.0


class ChatSender:
    """Shows the messages of one chat. Wanting one that waits already is one showing: only its latest state matters."""

    def __init__(self, show: Callable[[int], Awaitable[int]], pause: float, clock: Clock) -> None:
        """Args:
        show: Shows a message as it is now and says how many messages the platform was sent for that, 0 where it was
            not spoken to; raises Busy, or anything when it can't.
        pause: Shortest time between two showings, in seconds.
        clock: Time.
        """
        self._show = show
        self._pause = pause
        self._clock = clock
        self._entries: dict[int, _Entry] = {}
        self._next_at = 0.0
        # When the fetched files that were sent are made up for, at the pace of FETCHED_EVERY.
        self._fetched_at = 0.0
        self._arrived = asyncio.Event()
        self._stopping = False

    def want(self, message_id: int, urgency: Urgency) -> None:
        """Show this message soon."""
        entry = self._entries.setdefault(message_id, _Entry(urgency))
        if urgency < entry.urgency:
            entry.urgency, entry.not_before = urgency, 0.0
        self._arrived.set()

    async def run(self) -> None:
        """Work until nothing is wanted and the chat may be spoken to again at once, or until ``stop``."""
        while not self._stopping:
            wait = self._wait()
            if wait > 0:
                await self._sleep(wait)
            elif self._entries:
                await self._one()
            else:
                return

    def stop(self) -> None:
        """Begin nothing more; ``run`` returns once what has begun is over."""
        self._stopping = True
        self._arrived.set()

    def _wait(self) -> float:
        """Seconds until something can be done; 0 for now, or for never when nothing is wanted."""
        # Without entries the lane stays until it may forget what was fetched.
        soonest = min((self._at(entry) for entry in self._entries.values()), default=self._fetched_at)
        return max(self._next_at, soonest) - self._clock.monotonic()

    def _at(self, entry: _Entry) -> float:
        """When an entry may be shown, by the monotonic clock."""
        if entry.urgency is not Urgency.FETCHED:
            return entry.not_before
        return max(entry.not_before, self._fetched_at - (FETCHED_AT_ONCE - 1) * FETCHED_EVERY)

    async def _sleep(self, seconds: float) -> None:
        """Wait so long, or until something else is wanted."""
        self._arrived.clear()
        if self._stopping:
            return
        await until(self._arrived, seconds, self._clock)

    async def _one(self) -> None:
        now = self._clock.monotonic()
        due = [
            (entry.urgency, n, id_) for n, (id_, entry) in enumerate(self._entries.items()) if self._at(entry) <= now
        ]
        message_id = min(due)[2]
        entry = self._entries.pop(message_id)
        try:
            sent = await self._show(message_id)
            if not sent:
                return
            if entry.urgency is Urgency.FETCHED:
                self._fetched_at = max(self._fetched_at, self._clock.monotonic()) + sent * FETCHED_EVERY
        except RetryLater as busy:
            self._again(message_id, entry)
            self._next_at = self._clock.monotonic() + max(busy.seconds, _LEAST)
            return
        except Exception as e:  # whatever a platform's library raises, this chat's other messages go on
            entry.failures += 1
            entry.not_before = self._clock.monotonic() + min(LONGEST_PAUSE, 2.0**entry.failures)
            self._again(message_id, entry)
            if isinstance(e, Unavailable):
                # The database says once itself what is wrong with it; every message of every chat may wait for it.
                log.debug("message %d could not be shown (%s)", message_id, e.key)
                return
            log.exception("message %d could not be shown; try %d comes later", message_id, entry.failures + 1)
        self._next_at = self._clock.monotonic() + self._pause

    def _again(self, message_id: int, entry: _Entry) -> None:
        newer = self._entries.setdefault(message_id, entry)
        if newer is not entry:
            newer.failures, newer.not_before = entry.failures, entry.not_before
            newer.urgency = min(newer.urgency, entry.urgency)
