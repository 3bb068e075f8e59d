"""One chat's deliveries, one after another: the most urgent first, no faster than the chat allows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum

from bot.dispatch.pauses import until
from bot.model.errors import Unavailable
from bot.ports import Busy, Clock

LONGEST_PAUSE = 300.0
"""Seconds between two tries of something that keeps failing."""

_LEAST = 0.1
"""Seconds, even when a platform asks for none."""

log = logging.getLogger(__name__)


class Urgency(IntEnum):
    """What goes first: what is finished, then new cards, then progress, then places in the queue."""

    FINAL = 0
    NEW = 1
    PROGRESS = 2
    WAITING = 3


@dataclass(slots=True)
class _Entry:
    urgency: Urgency
    failures: int = 0
    not_before: float = 0.0


class Lane:
    """Shows the messages of one chat. Wanting one that waits already is one showing: only its latest state matters."""

    def __init__(self, show: Callable[[int], Awaitable[bool]], pause: float, clock: Clock) -> None:
        """Args:
        show: Shows a message as it is now and says whether the platform was spoken to; raises Busy, or anything
            when it can't.
        pause: Shortest time between two showings, in seconds.
        clock: Time.
        """
        self._show = show
        self._pause = pause
        self._clock = clock
        self._entries: dict[int, _Entry] = {}
        self._next_at = 0.0
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
        now = self._clock.now()
        soonest = min((entry.not_before for entry in self._entries.values()), default=0.0)
        return max(self._next_at, soonest) - now

    async def _sleep(self, seconds: float) -> None:
        """Wait so long, or until something else is wanted."""
        self._arrived.clear()
        if self._stopping:
            return
        await until(self._arrived, seconds, self._clock)

    async def _one(self) -> None:
        now = self._clock.now()
        due = [
            (entry.urgency, n, id_) for n, (id_, entry) in enumerate(self._entries.items()) if entry.not_before <= now
        ]
        message_id = min(due)[2]
        entry = self._entries.pop(message_id)
        try:
            spoke = await self._show(message_id)
            if not spoke:
                return
        except Busy as busy:
            self._again(message_id, entry)
            self._next_at = self._clock.now() + max(busy.seconds, _LEAST)
            return
        except Exception as e:  # whatever a platform's library raises, this chat's other messages go on
            entry.failures += 1
            entry.not_before = self._clock.now() + min(LONGEST_PAUSE, 2.0**entry.failures)
            self._again(message_id, entry)
            if isinstance(e, Unavailable):
                # The database says once itself what is wrong with it; every message of every chat may wait for it.
                log.debug("message %d could not be shown (%s)", message_id, e.key)
                return
            log.exception("message %d could not be shown; try %d comes later", message_id, entry.failures + 1)
        self._next_at = self._clock.now() + self._pause

    def _again(self, message_id: int, entry: _Entry) -> None:
        newer = self._entries.setdefault(message_id, entry)
        if newer is not entry:
            newer.failures, newer.not_before = entry.failures, entry.not_before
            newer.urgency = min(newer.urgency, entry.urgency)
