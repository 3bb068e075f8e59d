"""Delivery: finds the messages of changed jobs, and shows each in the lane of its chat."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from itertools import islice

from bot.core.errors import Unavailable
from bot.core.jobs import Job, JobState
from bot.core.messages import Message, MessageKind, MessageState
from bot.core.ports import Clock, Surface
from bot.delivery.chat_sender import ChatSender, Urgency
from bot.delivery.delivery_state import ENDED
from bot.delivery.message_sync import MessageSync
from bot.storage import jobs, messages
from bot.storage.database import Database

_RETRY = 1.0
"""Seconds until the rows are read again after the database could not be."""

_AT_ONCE = 200
"""Changed jobs that are looked at in one go."""

_OTHERS = {MessageKind.ALBUM: Urgency.FINAL, MessageKind.DOCUMENT: Urgency.FETCHED}
"""How urgent messages other than cards are. Answers wait behind finished pictures, so that nobody holds those up by typing."""

log = logging.getLogger(__name__)


class Delivery:
    """Runs one lane for each chat that has something to show. The rows say what; a wake-up only says where to look."""

    def __init__(self, db: Database, surfaces: Mapping[str, Surface], showing: MessageSync, clock: Clock) -> None:
        self._db = db
        self._surfaces = surfaces
        self._showing = showing
        self._clock = clock
        self._jobs: set[int] = set()
        self._posted = False
        self._stopping = False
        self._wake = asyncio.Event()
        self._lanes: dict[tuple[str, str], ChatSender] = {}

    def changed(self, job_id: int) -> None:
        """The job's messages may have to look different."""
        self._jobs.add(job_id)
        self._wake.set()

    def posted(self) -> None:
        """There are new messages to send."""
        self._posted = True
        self._wake.set()

    async def scan(self) -> None:
        """Look for everything that is still to be shown: at start, and when a platform comes (back)."""
        async with self._db.read() as tx:
            painted = await jobs.in_state(tx, JobState.PAINTED)
            stale = await messages.stale(tx)
            unwanted = await messages.unwanted_jobs(tx)
        self._jobs.update(job.id for job in painted)
        self._jobs.update(message.job_id for message in stale if message.job_id is not None)
        self._jobs.update(unwanted)
        self.posted()

    async def run(self) -> None:
        """Work until ``stop``; what is being shown then is shown to its end."""
        async with asyncio.TaskGroup() as tasks:
            while not self._stopping:
                await self._wake.wait()
                self._wake.clear()
                if not self._stopping:
                    await self._collect(tasks)

    def stop(self) -> None:
        """Begin nothing more; ``run`` returns once what has begun is over."""
        self._stopping = True
        self._wake.set()
        for lane in self._lanes.values():
            lane.stop()

    async def _collect(self, tasks: asyncio.TaskGroup) -> None:
        # Somebody who had everything forgotten may have had thousands: the others' jobs don't wait for all of them.
        changed = set(islice(self._jobs, _AT_ONCE))
        self._jobs -= changed
        if self._jobs:
            self._wake.set()
        posted, self._posted = self._posted, False
        quiet = []
        try:
            async with self._db.read() as tx:
                found: list[tuple[Message, Job | None]] = []
                for job_id in sorted(changed):
                    job = await jobs.get(tx, job_id)
                    rows = await messages.of_job(tx, job_id)
                    found += [(message, job) for message in rows]
                    silent = all(_urgency(message, job) is None for message in rows)
                    if job is not None and job.state is JobState.PAINTED and silent:
                        quiet.append(job_id)
                if posted:
                    for message in await messages.wanted(tx):
                        found.append((message, None if message.job_id is None else await jobs.get(tx, message.job_id)))
            for job_id in quiet:
                # Shown nowhere (the page), or it could not be: nobody else would end it.
                await self._showing.settle(job_id)
        except Unavailable as e:
            # The database says once itself what is wrong with it; this may go on for hours.
            log.debug("messages can't be looked at (%s); again in %g s", e.key, _RETRY)
            self._jobs |= changed
            self._posted = self._posted or posted
            self._wake.set()
            await self._clock.sleep(_RETRY)
            return
        for message, job in found:
            if (urgency := _urgency(message, job)) is not None:
                self._want(tasks, message, urgency)

    def _want(self, tasks: asyncio.TaskGroup, message: Message, urgency: Urgency) -> None:
        key = (message.address.platform, message.address.chat)
        surface = self._surfaces.get(message.address.platform)
        if surface is None:
            return
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = ChatSender(self._showing.show, surface.abilities().edit_every, self._clock)
            tasks.create_task(self._run(key, lane), name=f"lane {key[0]} {key[1]}")
        lane.want(message.id, urgency)

    async def _run(self, key: tuple[str, str], lane: ChatSender) -> None:
        try:
            await lane.run()
        finally:
            # Nothing is awaited between the lane's last look and here, so nobody has wanted anything meanwhile.
            del self._lanes[key]


def _urgency(message: Message, job: Job | None) -> Urgency | None:
    """How urgent it is to show this; None when there is nothing to show."""
    # A card that is being sent now is looked at again afterwards: its job has changed meanwhile.
    sending = message.state is MessageState.SENDING and message.kind is MessageKind.CARD
    if message.state not in {MessageState.WANTED, MessageState.SHOWN} and not sending:
        return None
    if message.unwanted:
        return Urgency.WAITING  # whoever waits for a picture goes first
    if message.kind is not MessageKind.CARD or job is None:
        return _OTHERS.get(message.kind, Urgency.NEW) if message.state is MessageState.WANTED else None
    if job.state in ENDED:
        return Urgency.FINAL
    if message.state is MessageState.WANTED:
        return Urgency.NEW
    return Urgency.PROGRESS if job.state is JobState.RUNNING else Urgency.WAITING
