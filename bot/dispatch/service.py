"""Builds the parts of dispatch and delivery, subscribes them to events, and starts and stops them as one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from bot import features
from bot.access.digest import AccessDigest
from bot.core.access import AccessMode, Owners
from bot.core.errors import Unavailable
from bot.core.events import EventBus, JobChanged, MessagesAdded, PreviewDemand
from bot.core.jobs import ServiceState, ticket_of
from bot.core.ports import Clock, Moderator, QueueLoad, QueuePosition, SlotReport, Surface, Ticket
from bot.core.preferences import Preferences
from bot.delivery.cards import JobPresenter
from bot.delivery.live import Live
from bot.delivery.message_sync import MessageSync
from bot.delivery.previews import ChatPreviews
from bot.delivery.service import Delivery
from bot.dispatch.active_job import ActiveJobs
from bot.dispatch.batcher import Batcher
from bot.dispatch.claims import BatchClaims
from bot.dispatch.completion import Completion, ImageFiles
from bot.dispatch.dispatcher import Dispatcher
from bot.dispatch.eta import EtaCalibration, EtaEstimator
from bot.dispatch.recovery import ExternalChanges, recover
from bot.history.service import run_indexer
from bot.maintenance.checks import ClockSetback, watch_integrity
from bot.moderation.image_moderation import ImageModeration
from bot.observability.metrics import Metrics
from bot.owner.activity import ActivityRecorder
from bot.privacy.deletion import RetentionWorker
from bot.privacy.exports import ExportWorker
from bot.privacy.undoable_deletion import DeletionWorker
from bot.provenance.facts import MarkingRules
from bot.provenance.marks import Marker
from bot.provenance.sealing import Sealing
from bot.queue.job_queue import JobQueue
from bot.queue.timing import DurationEstimate, Overhead
from bot.storage import people, queue_moves
from bot.storage.database import Database
from bot.storage.thumbnails import Thumbnails
from engine.contract import Engine

STOP_SECONDS = 8.0
"""How long ``stop`` waits for what has begun; the whole service has 10 s."""

POSITIONS_EVERY = 5.0
"""Seconds between two checks whose position in the queue has improved."""

QUEUE_LIMIT = 10_000
"""Most waiting jobs by default: each takes memory, and people do not wait for a position beyond it."""

log = logging.getLogger(__name__)


class RequestWorker(Protocol):
    """Completes requests that are no jobs yet: fetches their pictures, or has their prompts written."""

    def wake(self) -> None:
        """A request may have been saved, or a platform has come."""

    def on_messages_added(self, event: MessagesAdded, /) -> None:
        """A request may have been saved, with its notice."""

    async def run(self) -> None:
        """Work until cancelled."""


class Dispatch:
    """Queue, dispatcher and delivery. Implements ``bot.core.ports.Backlog``.

    Attributes:
        live: Progress and previews, and streams of changes for viewers.
        thumbnails: Makes the thumbnails of pictures; Studio has the same object.
    """

    def __init__(
        self,
        db: Database,
        folder: Path,
        engine: Engine,
        *,
        clock: Clock,
        metrics: Metrics,
        limit: int = QUEUE_LIMIT,
        keep_free: float = 0.0,
        owners: Owners | None = None,
        access: Mapping[str, AccessMode] | None = None,
        moderator: Moderator | None = None,
        preferences: Preferences | None = None,
        marking: MarkingRules | None = None,
        sealing: Sealing | None = None,
    ) -> None:
        """Args:
        db: An open database.
        folder: Where pictures are kept.
        engine: Draws; its owner starts and closes it.
        clock: Time.
        metrics: Gets counts and durations.
        limit: Most waiting jobs.
        keep_free: Percentage of the disk to keep free by removing the oldest pictures; 0 turns that off.
        owners: Those who are notified of newcomers; none by default.
        access: Access mode by platform; open by default.
        moderator: Classifies finished pictures; not classified by default.
        preferences: What people and places have set; Studio has the same object.
        marking: What the operator wants in every file; the defaults where it is not given.
        sealing: Signs pictures; None: they are not signed.
        """
        self._db = db
        self._folder = folder
        self._engine = engine
        self._clock = clock
        self._limit = limit
        self._reserved = 0
        self._surfaces: dict[str, Surface] = {}
        self._task: asyncio.Task[None] | None = None
        known = owners or Owners()

        self._bus = EventBus()
        self.live = Live(self._bus)
        self.thumbnails = Thumbnails(folder)
        estimate, overhead, active = DurationEstimate(), Overhead(), ActiveJobs()
        self._active = active
        self._queue = JobQueue(estimate.cost)
        self._batcher = Batcher(self._queue, estimate, engine.slots(), overhead=overhead, clock=clock)
        calibration = EtaCalibration()
        self._eta = EtaEstimator(
            self._queue,
            self._batcher,
            active,
            self.live,
            estimate=estimate,
            overhead=overhead,
            calibration=calibration,
            clock=clock,
        )
        self._dispatcher = Dispatcher(
            engine,
            queue=self._queue,
            batcher=self._batcher,
            claims=BatchClaims(db, folder, engine, batcher=self._batcher, active=active, clock=clock),
            active=active,
            files=ImageFiles(
                folder,
                Marker(engine.profiles, marking or MarkingRules(), sealing),
                ImageModeration(db, moderator, self._bus),
                self.live,
                thumbnails=self.thumbnails,
                clock=clock,
                metrics=metrics,
            ),
            completion=Completion(db, folder, self.live, clock, metrics, profiles=engine.profiles),
            live=self.live,
            calibration=calibration,
            overhead=overhead,
            bus=self._bus,
            clock=clock,
            metrics=metrics,
        )
        self._sync = MessageSync(
            db,
            self._surfaces,
            JobPresenter(folder, engine, self.live, known, features.COMMANDS.job_buttons),
            # The classifier judges finished pictures; chats must not show what it may hide.
            ChatPreviews(self.live, clock, on=moderator is None),
            folder,
            queue=self._eta,
            live=self.live,
            bus=self._bus,
            clock=clock,
            metrics=metrics,
        )
        self._delivery = Delivery(db, self._surfaces, self._sync, folder, clock)
        self._digest = AccessDigest(db, known, access or {}, bus=self._bus, clock=clock)
        self._retention = RetentionWorker(db, folder, clock, bus=self._bus, free_percent=keep_free)
        self._deletions = DeletionWorker(db, folder, clock, self._bus)
        self._exports = ExportWorker(db, folder, self._surfaces, clock, self._bus)
        self._activity = ActivityRecorder(db, metrics, self._queue, clock)
        self._workers: Sequence[RequestWorker] = ()
        self._setback = ClockSetback(db, clock)
        self._external = ExternalChanges(
            db,
            queue=self._queue,
            active=active,
            dispatcher=self._dispatcher,
            delivery=self._delivery,
            owners=known,
            preferences=preferences or Preferences(),
            digest=self._digest,
            clock=clock,
        )

        self._bus.subscribe(JobChanged, self.live.on_job_changed)
        self._bus.subscribe(JobChanged, self._delivery.on_job_changed)
        self._bus.subscribe(MessagesAdded, self._exports.on_messages_added)
        self._bus.subscribe(MessagesAdded, self._delivery.on_messages_added)
        self._bus.subscribe(PreviewDemand, self._dispatcher.on_preview_demand)
        metrics.watch(self._queue, active, engine, folder, paused=lambda: self._batcher.paused, slots=self.slots)

    @property
    def surfaces(self) -> Mapping[str, Surface]:
        """The platforms that are on, as a live view."""
        return MappingProxyType(self._surfaces)

    async def start(self, *workers: RequestWorker) -> None:
        """Repair what the last process has left, and begin to draw and to deliver.

        Args:
            workers: Complete requests from now on.

        Raises:
            Unavailable: The database or the pictures folder can't be used.
        """
        await self._external.start()
        await self._setback.start()
        async with self._db.read() as tx:
            self.set_paused(await people.get_service_state(tx) is ServiceState.PAUSE)
        for job in await recover(self._db, self._folder, self._sync, self._clock):
            self._dispatcher.enqueue(ticket_of(job), solo=job.attempts > 0)
        await self._restore_moves()
        await self._delivery.scan()
        self._workers = workers
        for worker in workers:
            self._bus.subscribe(MessagesAdded, worker.on_messages_added)
        self._task = asyncio.create_task(self._run(), name="dispatch")

    async def stop(self) -> None:
        """End within STOP_SECONDS: jobs that are being drawn are requeued, messages that are being sent are sent."""
        if self._task is None:
            return
        self._dispatcher.stop()
        self._delivery.stop()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._task
        except TimeoutError:
            log.warning("what was begun did not end in %g s; the next start puts it right", STOP_SECONDS)
        finally:
            self._task = None

    def is_alive(self) -> bool:
        """Whether it runs and does something about jobs that could be drawn, or was stopped."""
        return self._task is None or not (self._task.done() or self._dispatcher.is_stuck())

    async def ended(self) -> None:
        """Return once it was stopped; raises the fault that ended it, so that its owner does not go on without it."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def attach(self, platform: str, surface: Surface) -> None:
        """Deliver to this platform from now on, also what has waited for it."""
        self._surfaces[platform] = surface
        self._exports.wake()
        for worker in self._workers:
            worker.wake()
        await self._delivery.scan()

    def detach(self, platform: str) -> None:
        """The platform is off; its messages wait."""
        self._surfaces.pop(platform, None)

    def enqueue(self, ticket: Ticket) -> None:
        """See ``Backlog``."""
        self._dispatcher.enqueue(ticket)

    def retry_after(self) -> float | None:
        """See ``Backlog``."""
        return self._eta.retry_after(self._limit - self._reserved)

    @contextmanager
    def reserve(self) -> Iterator[None]:
        """See ``Backlog``."""
        self._reserved += 1
        try:
            yield
        finally:
            self._reserved -= 1

    def set_paused(self, on: bool) -> None:
        """See ``Backlog``."""
        self._dispatcher.set_paused(on)

    def order(self) -> Sequence[int]:
        """See ``Backlog``."""
        return self._eta.order()

    def newest(self) -> int:
        """See ``Backlog``."""
        return self._queue.newest()

    def move_ahead(self, job_id: int) -> None:
        """See ``Backlog``."""
        self._queue.move_ahead(job_id)

    def move_behind(self, job_id: int, last_id: int) -> None:
        """See ``Backlog``."""
        self._queue.move_behind(job_id, last_id)

    def job_cancelled(self, job_id: int) -> None:
        """See ``Backlog``."""
        self._dispatcher.cancel(job_id)

    def job_changed(self, job_id: int) -> None:
        """See ``Backlog``."""
        self._bus.publish(JobChanged(job_id))

    def messages_added(self) -> None:
        """See ``Backlog``."""
        self._bus.publish(MessagesAdded())

    def access_requested(self) -> None:
        """See ``Backlog``."""
        self._digest.wake()

    def deletion_added(self) -> None:
        """See ``Backlog``."""
        self._deletions.wake()

    def position(self, job_id: int) -> QueuePosition | None:
        """See ``Backlog``."""
        return self._eta.position(job_id)

    def load(self) -> QueueLoad:
        """See ``Backlog``."""
        waiting = sum(job_id not in self._active for job_id in self._queue)
        return QueueLoad(waiting, len(self._active))

    def slots(self) -> Sequence[SlotReport]:
        """See ``Backlog``."""
        self._batcher.placement.update(self._engine.slots())
        return self._batcher.reports()

    def progress(self, job_id: int) -> float | None:
        """See ``Backlog``."""
        return self.live.progress(job_id)

    def seconds_left(self, job_id: int) -> float | None:
        """See ``Backlog``."""
        return self._eta.seconds_left(job_id)

    async def _restore_moves(self) -> None:
        """Move the waiting jobs that an owner moved before the last stop or kill, in the same order."""
        async with self._db.read() as tx:
            moves = await queue_moves.of_waiting(tx)
        for move in moves:
            if move.last_id is None:
                self._queue.move_ahead(move.job_id)
            else:
                self._queue.move_behind(move.job_id, move.last_id)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            delivery = tasks.create_task(self._delivery.run(), name="delivery")
            background = [
                tasks.create_task(self._refresh_positions(), name="positions"),
                tasks.create_task(self._external.run(), name="external changes"),
                tasks.create_task(self._retention.run(), name="retention"),
                tasks.create_task(self._deletions.run(), name="deletions"),
                tasks.create_task(self._exports.run(), name="exports"),
                tasks.create_task(self.thumbnails.run(), name="thumbnails"),
                tasks.create_task(run_indexer(self._db, self._clock), name="history"),
                tasks.create_task(self._digest.run(), name="digest"),
                tasks.create_task(watch_integrity(self._db, self._clock), name="integrity"),
                tasks.create_task(self._activity.run(), name="activity"),
            ]
            background += [tasks.create_task(worker.run(), name=type(worker).__name__) for worker in self._workers]
            await self._dispatcher.run()
            for task in background:
                task.cancel()
            await delivery
        await self._activity.flush()

    async def _refresh_positions(self) -> None:
        """Show people who wait that their position has improved; notice jobs that are overdue, and a clock that was set back."""
        seen = self._queue.version
        while True:
            await self._clock.sleep(POSITIONS_EVERY)
            try:
                await self._setback.check()
            except Unavailable as e:
                log.debug(
                    "what was stored in the future can't be put right (%s); again in %g s", e.key, POSITIONS_EVERY
                )
            if self._batcher.placement.is_overdue():
                # Nothing else says that the time is over while slots draw long pictures.
                self._queue.notify()
            if seen != self._queue.version:
                seen = self._queue.version
                for job_id in self._eta.improved():
                    self.job_changed(job_id)
