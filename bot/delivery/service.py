"""Delivery: finds the messages that have to change, and has each chat's sender sync them; use cases of messages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from bot.cards.i18n import text
from bot.context import AppContext
from bot.core.cards import Card
from bot.core.errors import Unavailable
from bot.core.events import InChats, JobChanged, MessagesAdded
from bot.core.jobs import JobState
from bot.core.messages import Address, EventRef, Message, MessageKind, MessageState
from bot.core.people import Actor
from bot.core.ports import Clock, Surface
from bot.core.waits import TokenBucket
from bot.delivery import store
from bot.delivery.chat_sender import ChatSender, Urgency
from bot.delivery.message_sync import MessageSync
from bot.delivery.store import ENDED, SYNCED, MessageItem
from bot.storage import jobs, messages
from bot.storage.database import Database, Tx
from bot.storage.sql import dump_card

log = logging.getLogger(__name__)

_RETRY = 1.0
"""Seconds until the rows are read again after the database could not be."""

PROGRESS_EVERY = 1.0
"""Seconds between two looks at the messages of a job that has only come further: cards in chats change no faster, and a
job that is drawn within this time goes from waiting to its pictures, without an edit that these would have to wait for."""

_PROGRESS_TICK = 0.25
_PROGRESS_AT_ONCE = 5
"""Seconds between two looks for such jobs, and most jobs of one look: 20 a second, less than half of the 30 to 50 messages
a second that platforms take from a bot.
"""

_CHANGES_PER_SECOND = 50
_CHANGES_AT_ONCE = 50
"""Changed jobs each second, and at once, from which on they wait for each other."""

_PAUSE_SECONDS = 0.04
"""How long they wait then: a look at one job costs as much as one at a few."""

_JOBS_AT_ONCE = 200
"""Most changed jobs that one transaction reads."""


_URGENCIES = {MessageKind.ALBUM: Urgency.FINAL, MessageKind.DOCUMENT: Urgency.FETCHED}
"""Urgency of messages other than cards; the others are NEW, so that typing commands does not delay finished pictures."""


class Delivery:
    """Runs one sender for each chat that has something to show. Events say which rows to read; the rows say the rest."""

    def __init__(
        self, db: Database, surfaces: Mapping[str, Surface], sync: MessageSync, folder: Path, clock: Clock
    ) -> None:
        """Args:
        db: Where the rows are.
        surfaces: The platforms that are on; they come and go.
        sync: Brings a message up to date.
        folder: Where pictures are kept.
        clock: Time.
        """
        self._db = db
        self._folder = folder
        self._surfaces = surfaces
        self._sync = sync
        self._clock = clock
        self._changed_jobs: set[int] = set()
        # Jobs that have only come further since the last look at their messages, and since when.
        self._progressed: dict[int, float] = {}
        self._added = False
        self._stopping = False
        self._wake = asyncio.Event()
        self._rate = TokenBucket(_CHANGES_PER_SECOND, _CHANGES_AT_ONCE)
        self._senders: dict[tuple[str, str], ChatSender] = {}

    def on_job_changed(self, event: JobChanged) -> None:
        """Sync the job's messages: soon, or after PROGRESS_EVERY where it has only come further."""
        if event.in_chats is InChats.SHOWN:
            return
        if event.in_chats is InChats.LATER:
            self._progressed.setdefault(event.job_id, self._clock.monotonic())
            return
        self._progressed.pop(event.job_id, None)
        self._changed_jobs.add(event.job_id)
        self._wake.set()

    def on_messages_added(self, _event: MessagesAdded) -> None:
        """Send the messages that are WANTED, and edit the notices whose card was replaced."""
        self._added = True
        self._wake.set()

    async def scan(self) -> None:
        """Look for everything that is still to be shown: at start, and when a platform comes (back)."""
        async with self._db.read() as tx:
            painted = await jobs.in_state(tx, JobState.PAINTED)
            stale = await messages.stale_cards(tx)
            unwanted = await messages.unwanted_jobs(tx)
        self._changed_jobs.update(job.id for job in painted)
        self._changed_jobs.update(message.job_id for message in stale if message.job_id is not None)
        self._changed_jobs.update(unwanted)
        self._added = True
        self._wake.set()

    async def run(self) -> None:
        """Work until ``stop``; messages that are being sent then are sent to the end."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            progress = tasks.create_task(self._look_at_progress(), name="progress")
            while not self._stopping:
                await self._wake.wait()
                # A real pause, whatever the clock says: it saves the processor's time.
                await asyncio.sleep(_PAUSE_SECONDS if self._rate.is_empty(loop.time()) else 0)
                self._wake.clear()
                if not self._stopping:
                    await self._collect(tasks)
            progress.cancel()

    def stop(self) -> None:
        """Begin nothing more; ``run`` returns after what has begun."""
        self._stopping = True
        self._wake.set()
        for sender in self._senders.values():
            sender.stop()

    async def _look_at_progress(self) -> None:
        """Have the messages of jobs that have only come further synced, some of them at the same time."""
        while True:
            await self._clock.sleep(_PROGRESS_TICK)
            before = self._clock.monotonic() - PROGRESS_EVERY
            some = islice(self._progressed.items(), _PROGRESS_AT_ONCE)  # the oldest ones
            due = [job_id for job_id, since in some if since <= before]
            if due:
                for job_id in due:
                    del self._progressed[job_id]
                self._changed_jobs.update(due)
                self._wake.set()

    async def _collect(self, tasks: asyncio.TaskGroup) -> None:
        # One person may have thousands of jobs forgotten at once; other people's jobs do not wait for all of them.
        changed = set(islice(self._changed_jobs, _JOBS_AT_ONCE))
        self._changed_jobs -= changed
        self._rate.take(asyncio.get_running_loop().time(), len(changed))
        if self._changed_jobs:
            self._wake.set()
        added, self._added = self._added, False
        try:
            found, quiet = await self._db.run_read(partial(_look, sorted(changed), added, self._folder))
            for job_id in quiet:
                # No message is left to show (as on the page), so no sender would settle it.
                await self._sync.settle(job_id)
        except Unavailable as e:
            # The database logs its own fault once; this may go on for hours.
            log.debug("messages can't be looked at (%s); again in %g s", e.key, _RETRY)
            self._changed_jobs |= changed
            self._added = self._added or added
            self._wake.set()
            await self._clock.sleep(_RETRY)
            return
        for item in found:
            if (urgency := _urgency(item)) is not None:
                self._request(tasks, item, urgency)

    def _request(self, tasks: asyncio.TaskGroup, item: MessageItem, urgency: Urgency) -> None:
        message = item.message
        key = (message.address.platform, message.address.chat)
        surface = self._surfaces.get(message.address.platform)
        if surface is None:
            return
        sender = self._senders.get(key)
        if sender is None:
            wait = partial(surface.wait, message.address)
            sender = self._senders[key] = ChatSender(self._sync, surface.abilities().edit_every, self._clock, wait)
            tasks.create_task(self._run_sender(key, sender), name=f"chat {key[0]} {key[1]}")
        sender.request(message.id, urgency, item if message.state in SYNCED else None)

    async def _run_sender(self, key: tuple[str, str], sender: ChatSender) -> None:
        try:
            await sender.run()
        finally:
            # Nothing is awaited between the sender's last check and here, so no request is lost.
            del self._senders[key]


async def _look(
    job_ids: Sequence[int], added: bool, folder: Path, tx: Tx
) -> tuple[Sequence[MessageItem], Sequence[int]]:
    """Return the messages of these jobs, and those of the jobs that have nothing to show.

    Args:
        job_ids: The jobs.
        added: Also the messages that are to be sent, and the notices that are to be edited.
        folder: Where pictures are kept.
        tx: A transaction.
    """
    found: list[MessageItem] = []
    quiet = []
    for job, items in await store.items_of(tx, job_ids, folder):
        found += items
        if job.state is JobState.PAINTED and all(_urgency(item) is None for item in items):
            quiet.append(job.id)
    if added:
        for message in (*await messages.wanted(tx), *await messages.outdated(tx)):
            found.append(await store.item_of(tx, message, folder))
    return found, quiet


def _urgency(item: MessageItem) -> Urgency | None:
    """Return how urgent a message is; None when there is nothing to show."""
    message, job = item.message, item.job
    # A card that is being sent now is synced again afterwards: its job has changed meanwhile.
    sending = message.state is MessageState.SENDING and message.kind is MessageKind.CARD
    if message.state not in SYNCED and not sending:
        return None
    if message.unwanted:
        return Urgency.WAITING  # people who wait for a picture go first
    if message.kind is MessageKind.NOTICE and message.state is MessageState.SHOWN:
        return Urgency.NEW if message.card else None
    if message.kind is not MessageKind.CARD or job is None:
        return _URGENCIES.get(message.kind, Urgency.NEW) if message.state is MessageState.WANTED else None
    if job.state in ENDED:
        return Urgency.FINAL
    if message.state is MessageState.WANTED:
        return Urgency.NEW
    return Urgency.PROGRESS if job.state is JobState.RUNNING else Urgency.WAITING


async def bind_answer(ctx: AppContext, job_id: int | None, ref: EventRef, address: Address) -> None:
    """The adapter has shown its answer at ``address``; delivery edits it there from now on.

    ``job_id`` is None if that was a notice of a request that has no job yet.
    """
    async with ctx.db.write() as tx:
        await messages.bind(tx, job_id, ref.event, address)
        answer = await messages.by_event(tx, ref.event)
    _answer_changed(ctx, answer)


async def unbind_answer(ctx: AppContext, job_id: int | None, ref: EventRef) -> None:
    """The adapter could not show its answer; delivery sends it. ``job_id`` as in ``bind_answer``."""
    async with ctx.db.write() as tx:
        await messages.unbind(tx, job_id, ref.event)
        answer = await messages.by_event(tx, ref.event)
    _answer_changed(ctx, answer)


def _answer_changed(ctx: AppContext, answer: Message | None) -> None:
    if answer is not None and answer.job_id is not None:
        ctx.backlog.job_changed(answer.job_id)
    else:
        ctx.backlog.messages_added()


async def bind_lost_card(ctx: AppContext, job_id: int, address: Address) -> None:
    """A person has pressed a button of a job's card at ``address``, which has the id of the message.

    Where Easel was killed before it stored that id, it is stored now, and the card is edited again.
    """
    if address.message is None:
        raise ValueError(f"the address of the card of job {job_id} has no message")
    async with ctx.db.read() as tx:
        if await store.lost_card(tx, job_id, address) is None:
            return
    async with ctx.db.write() as tx:
        message = await store.lost_card(tx, job_id, address)
        if message is not None:
            await store.bind_lost_card(tx, message, address.message)
    ctx.backlog.job_changed(job_id)


async def post_notice(ctx: AppContext, ref: EventRef, card: Card) -> None:
    """Have delivery send a notice, once for each event. Raises ValueError when the ref has no address."""
    if ref.address is None:
        raise ValueError(f"there is nowhere to post the answer to {ref.event}")
    async with ctx.db.write() as tx:
        await messages.add_notice(tx, ref.event, ref.address, dump_card(card))
    ctx.backlog.messages_added()


@dataclass(frozen=True, slots=True)
class MissedNotice:
    """A sentence for one person.

    Attributes:
        notice: The sentence.
        latest: The newest job that it is about.
    """

    notice: str
    latest: int


async def find_missed(ctx: AppContext, actor: Actor) -> MissedNotice | None:
    """Return what to tell this person; None when they have missed nothing."""
    async with ctx.db.read() as tx:
        missed = await store.missed_by(tx, actor.platform, actor.user_id)
    if missed is None:
        return None
    parts = (
        ("missed.drawn", missed.drawn),
        ("missed.failed", missed.failed),
        ("missed.cancelled", missed.cancelled),
    )
    return MissedNotice("\n".join(text(actor.locale, key, n=n) for key, n in parts if n), missed.latest)


async def mark_told(ctx: AppContext, actor: Actor, told: MissedNotice) -> None:
    """The person was told."""
    async with ctx.db.write() as tx:
        await store.clear_missed(tx, actor.platform, actor.user_id, told.latest)
