"""Everything between admission and delivery as one thing to start and stop; the use cases know it as their backlog."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bot import features
from bot.access.digest import AccessDigest
from bot.core.access import AccessMode, Owners
from bot.core.errors import Unavailable
from bot.core.jobs import ServiceState, ticket_of
from bot.core.ports import Clock, Moderator, QueuePosition, Surface, Ticket
from bot.delivery.message_sync import MessageSync
from bot.delivery.presenter import JobPresenter
from bot.delivery.service import Delivery
from bot.dispatch.batcher import Batcher
from bot.dispatch.claims import BatchClaims
from bot.dispatch.completion import Completion
from bot.dispatch.dispatcher import Dispatcher
from bot.dispatch.eta import EtaCalibration, EtaEstimator
from bot.dispatch.external_changes import ExternalChanges
from bot.dispatch.image_files import ImageFiles
from bot.dispatch.live import Live
from bot.dispatch.overhead import Overhead
from bot.dispatch.recovery import recover
from bot.history.indexer import keep_indexed
from bot.maintenance.clock import ClockSetback
from bot.maintenance.integrity import keep_checked
from bot.moderation.image_moderation import ImageModeration
from bot.observability.metrics import Metrics
from bot.privacy.export_worker import ExportWorker
from bot.privacy.retention_worker import RetentionWorker
from bot.provenance.metadata import MetadataWriter
from bot.queue.duration_estimate import DurationEstimate
from bot.queue.hierarchical_fair_queue import Weights
from bot.queue.job_queue import JobQueue
from bot.storage import options
from bot.storage.database import Database
from engine.contract import Engine

STOP_SECONDS = 8.0
"""How long ``stop`` waits for what has begun; the whole service has 10 s."""

PLACES_EVERY = 5.0
"""Seconds between two looks at who has moved up in the queue."""

LIMIT = 10_000
"""So many jobs may wait where nobody says otherwise: each costs memory, and nobody waits for a place beyond it."""

log = logging.getLogger(__name__)


class Dispatch:
    """Queue, dispatcher and delivery. Obeys ``bot.core.ports.Backlog``."""

    def __init__(
        self,
        db: Database,
        folder: Path,
        engine: Engine,
        *,
        clock: Clock,
        metrics: Metrics,
        limit: int = LIMIT,
        weights: Weights | None = None,
        keep_free: float = 0.0,
        owners: Owners | None = None,
        access: Mapping[str, AccessMode] | None = None,
        moderator: Moderator | None = None,
    ) -> None:
        """Args:
        db: An open database.
        folder: Where pictures are kept.
        engine: Draws; started and closed by whoever made it.
        clock: Time.
        metrics: Counts.
        limit: So many jobs may wait.
        weights: How much places and people count in the queue; all the same when not given.
        keep_free: Percentage of the disk that shall stay free: the oldest pictures make room; 0 turns that off.
        owners: Who is told of newcomers; nobody when not given.
        access: Who may come in, by platform; everybody where it says nothing.
        moderator: Looks at finished pictures; nobody does when not given.
        """
        self.live = Live()
        """Progress, and wake-ups for whoever watches a job."""
        self._db = db
        self._folder = folder
        self._clock = clock
        self._metrics = metrics
        self._surfaces: dict[str, Surface] = {}
        self._limit = limit
        self._seats = 0
        self.refresh: list[Callable[[], Awaitable[None]]] = []
        """Called after another process has written to the database."""
        estimate, overhead = DurationEstimate(), Overhead()
        self._queue = JobQueue(estimate.cost, weights)
        self._feed = Batcher(self._queue, estimate, engine.slots(), overhead=overhead, clock=clock)
        self._promises = EtaCalibration(metrics.promised)
        self._dispatcher = Dispatcher(
            engine,
            claims=BatchClaims(db, folder, engine, queue=self._queue, feed=self._feed, clock=clock),
            files=ImageFiles(
                folder, MetadataWriter(engine.profiles), ImageModeration(db, moderator, self.posted), metrics, clock
            ),
            queue=self._queue,
            feed=self._feed,
            live=self.live,
            endings=Completion(db, folder, clock, metrics),
            overhead=overhead,
            changed=self.changed,
            ended=self._ended,
            clock=clock,
            metrics=metrics,
        )
        self._outlook = EtaEstimator(
            self._queue,
            lambda: self._dispatcher.runs,
            self.live,
            estimate,
            overhead=overhead,
            promises=self._promises,
            clock=clock,
            held=lambda: self._feed.held,
            set_aside=self._feed.set_aside,
        )
        known = owners or Owners()
        self._showing = MessageSync(
            db,
            self._surfaces,
            JobPresenter(
                folder,
                engine.profiles,
                buttons=features.COMMANDS.job_buttons,
                owned=lambda: bool(known.everybody()),
                stalled=self.live.stalled,
                preempted=self.live.preempted,
            ),
            folder,
            waiting=self.waiting,
            progress=self.progress,
            follow=self.changed,
            posted=self.posted,
            clock=clock,
            metrics=metrics,
        )
        self._delivery = Delivery(db, self._surfaces, self._showing, clock)
        self._digest = AccessDigest(db, known, access or {}, posted=self._delivery.posted, clock=clock)
        self._keeping = RetentionWorker(db, folder, clock, free_percent=keep_free)
        self._exporting = ExportWorker(db, folder, self._surfaces, clock, self._delivery.posted)
        self._watch = ExternalChanges(
            db,
            self._queue,
            begun=lambda: tuple(self._dispatcher.runs),
            has=self._dispatcher.has,
            put=self.put,
            forget=self.forget,
            hold=self.hold,
            refresh=self.refresh,
            clock=clock,
        )
        self._setback = ClockSetback(db, clock)
        self.refresh.append(self._delivery.scan)
        self._task: asyncio.Task[None] | None = None
        metrics.watch(lambda: len(self._queue), lambda: engine.state().phase)

    async def start(self) -> None:
        """Put right what the last run has left, and begin to draw and to deliver.

        Raises:
            Unavailable: The database or the pictures folder can't be used.
        """
        await self._watch.start()
        await self._setback.start()
        async with self._db.read() as tx:
            self.hold(await options.service_state(tx) is ServiceState.PAUSE)
        for job in await recover(self._db, self._folder, self._showing, self._clock):
            self._queue.put(ticket_of(job), solo=job.attempts > 0)
            self.changed(job.id)
        await self._delivery.scan()
        self._task = asyncio.create_task(self._run(), name="dispatch")

    async def stop(self) -> None:
        """End within 8 s: what is being drawn waits again, what is being sent is sent to its end."""
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

    async def ended(self) -> None:
        """Return once it was stopped; raises what ended it otherwise, so that its owner does not go on without it."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def attach(self, platform: str, surface: Surface) -> None:
        """From now on this surface shows what belongs to its platform; also what has waited for it."""
        self._surfaces[platform] = surface
        self._exporting.wake()
        await self._delivery.scan()

    def detach(self, platform: str) -> None:
        """The platform is off: what belongs to it waits."""
        self._surfaces.pop(platform, None)

    def put(self, ticket: Ticket) -> None:
        """A queued row was committed: its job may be begun."""
        self._queue.put(ticket)
        self.changed(ticket.job_id)

    def full(self) -> float | None:
        """None while there is room for another job; otherwise in how many seconds to come back."""
        return self._outlook.full(self._limit - self._seats)

    @contextmanager
    def seat(self) -> Iterator[None]:
        """Keep room for a job until the block ends: its row is written, and not yet committed."""
        self._seats += 1
        try:
            yield
        finally:
            self._seats -= 1

    def hold(self, on: bool) -> None:
        """Begin nothing new until it is off again (the owners have paused the whole service); requests still wait."""
        self._feed.hold(on)

    def forget(self, job_id: int) -> None:
        """The job was cancelled: it leaves the queue, and the engine within one step."""
        self._promises.forget(job_id)
        self._queue.remove(job_id)
        self._dispatcher.forget(job_id)
        self._metrics.jobs.labels("cancelled").inc()
        self.changed(job_id)

    def changed(self, job_id: int) -> None:
        """The job's card may look different now: delivery shows it again, and watchers wake."""
        self.live.changed(job_id)
        self._delivery.changed(job_id)

    def posted(self) -> None:
        """A notice, a file or an export to be sent was committed."""
        self._exporting.wake()
        self._delivery.posted()

    def asked(self) -> None:
        """Somebody new waits for an owner's answer, or an owner is known now who may be told."""
        self._digest.asked()

    def waiting(self, job_id: int) -> QueuePosition | None:
        """Where it stands; None when it does not wait."""
        return self._outlook.waiting(job_id)

    def progress(self, job_id: int) -> float | None:
        """0 to 1 while it is being drawn; None otherwise."""
        return self.live.progress(job_id)

    def _ended(self, job_id: int, drawn: bool) -> None:
        if drawn:
            self._promises.came(job_id, now=self._clock.monotonic())
        else:
            self._promises.forget(job_id)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            delivery = tasks.create_task(self._delivery.run(), name="delivery")
            places = tasks.create_task(self._places(), name="places")
            watch = tasks.create_task(self._watch.run(), name="watch")
            chores = [
                tasks.create_task(self._keeping.run(), name="keeping"),
                tasks.create_task(self._exporting.run(), name="exporting"),
                tasks.create_task(keep_indexed(self._db, self._clock), name="history"),
                tasks.create_task(self._digest.run(), name="digest"),
                tasks.create_task(keep_checked(self._db, self._clock), name="integrity"),
            ]
            await self._dispatcher.run()
            for chore in chores:
                chore.cancel()
            places.cancel()
            watch.cancel()
            await delivery

    async def _places(self) -> None:
        """Show people who wait that they have moved up, and notice a clock that was set back."""
        seen = self._queue.version
        while True:
            await self._clock.sleep(PLACES_EVERY)
            try:
                await self._setback.look()
            except Unavailable as e:
                log.debug("what was stored in the future can't be put right (%s); again in %g s", e.key, PLACES_EVERY)
            if seen != self._queue.version:
                seen = self._queue.version
                for job_id in self._outlook.moved():
                    self.changed(job_id)
