"""From waiting to painted: hands batches to the engine, and ends each job with its last picture."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

from bot.cards.job_card import error_key
from bot.core.errors import Unavailable
from bot.core.events import EventBus, InChats, JobChanged, PreviewDemand
from bot.core.ports import Clock, Ticket
from bot.delivery.live import Live
from bot.dispatch.active_job import ActiveJob, ActiveJobs
from bot.dispatch.batcher import Batcher
from bot.dispatch.claims import BatchClaims, Claimed
from bot.dispatch.completion import Completion, ImageFiles
from bot.dispatch.eta import EtaCalibration
from bot.dispatch.in_flight import InFlightBatch
from bot.dispatch.progress import JobProgress
from bot.observability.log_context import current_request, job_context, request_context
from bot.observability.metrics import Metrics
from bot.queue.fair_queue import WorkItem
from bot.queue.job_queue import JobQueue
from bot.queue.timing import Overhead
from engine.contract import Engine, EngineError, EngineLost, Event, Failed, Image, Preview, Recipe, Step

_DATABASE_PAUSE = 1.0
"""Seconds until the next try after the database could not be read or written."""

_ENGINE_PAUSE = 5.0
"""Seconds between two tries to start an engine that can't start."""

STUCK_SECONDS = 600.0
"""Seconds for which nothing is done about jobs that could be drawn, after which the dispatcher counts as stuck."""

log = logging.getLogger(__name__)


class Dispatcher:
    """Feeds the engine. A fault of a job ends that job, never the loop."""

    def __init__(
        self,
        engine: Engine,
        *,
        queue: JobQueue,
        batcher: Batcher,
        claims: BatchClaims,
        active: ActiveJobs,
        files: ImageFiles,
        completion: Completion,
        live: Live,
        calibration: EtaCalibration,
        overhead: Overhead,
        bus: EventBus,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        """Args:
        engine: Draws.
        queue: What waits.
        batcher: Decides what is next.
        claims: Takes the next batches out of the queue.
        active: The jobs that are being drawn.
        files: Stores pictures.
        completion: Stores the outcome of a job.
        live: Gets the progress and previews.
        calibration: Told when a job's pictures are there.
        overhead: Told how long it takes to store pictures.
        bus: Told when a job's card may look different.
        clock: Time.
        metrics: Counts pictures, losses, outcomes and predictions.
        """
        self._engine = engine
        self._queue = queue
        self._batcher = batcher
        self._claims = claims
        self._active = active
        self._files = files
        self._completion = completion
        self._live = live
        self._calibration = calibration
        self._overhead = overhead
        self._bus = bus
        self._clock = clock
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._progress = JobProgress(active, live, bus, clock)
        self._calls: defaultdict[str, set[asyncio.Timeout]] = defaultdict(set)
        """The open calls of ``paint`` of each slot."""
        self._requests: dict[int, str] = {}
        """Ids of the requests of jobs that have not ended, for log lines; those from before the start are missing."""
        self._turned_at = clock.monotonic()
        """When the loop last took a turn, or had nothing to do."""

    def is_stuck(self) -> bool:
        """Whether jobs could be drawn, and nothing has been done about them for STUCK_SECONDS.

        Called now and then: the time counts from the first call that finds such jobs.
        """
        self._batcher.placement.update(self._engine.slots())
        blocked = self._batcher.paused or self._files.waits_for_room or not self._batcher.placement.could_begin()
        if not len(self._queue) or len(self._active) or blocked:
            self._turned_at = self._clock.monotonic()
        return self._clock.monotonic() - self._turned_at > STUCK_SECONDS

    def enqueue(self, ticket: Ticket, *, solo: bool = False) -> None:
        """A queued row was committed: its job may be begun; ``solo``: in a batch of its own."""
        if request := current_request():
            self._requests[ticket.job_id] = request
        self._metrics.traces.queued(ticket.job_id)
        self._queue.put(ticket, solo=solo)
        self._changed(ticket.job_id)

    def cancel(self, job_id: int) -> None:
        """The job was cancelled: it leaves the queue, and the engine within one step, and nothing of it is kept."""
        self._calibration.forget(job_id)
        self._queue.remove(job_id)
        if (active := self._active.get(job_id)) is not None:
            active.cancelled = True
            for index in active.painting:
                self._drop(active, index)
            self._check(active)
        self._metrics.jobs.labels("cancelled").inc()
        self._metrics.traces.ended(job_id, "cancelled")
        self._requests.pop(job_id, None)
        self._changed(job_id)

    def set_paused(self, on: bool) -> None:
        """Begin nothing new while ``on``; the cards of those who wait say so."""
        if on is self._batcher.paused:
            return
        self._batcher.set_paused(on)
        for job_id in list(self._queue):
            self._changed(job_id)

    def stop(self) -> None:
        """Begin nothing more; ``run`` puts unfinished jobs back into the queue and returns."""
        self._stop.set()
        self._files.stop()

    async def run(self) -> None:
        """Work until ``stop``. When cancelled, it leaves the rows as a kill would, and the next start repairs them."""
        feed = asyncio.create_task(self._feed(), name="feed")
        slots = asyncio.create_task(self._follow_slots(), name="slots")
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        try:
            await asyncio.wait({feed, slots, stop}, return_when=asyncio.FIRST_COMPLETED)
            workers = (feed, slots)
            for worker in workers:
                worker.cancel()
            await asyncio.wait(workers)
            for worker in workers:
                if not worker.cancelled():
                    worker.result()
            while self._tasks:
                await asyncio.wait(self._tasks)
            await self._requeue_all()
        finally:
            for task in (feed, slots, stop, *self._tasks):
                task.cancel()
            await asyncio.gather(feed, slots, stop, *self._tasks, return_exceptions=True)

    def on_preview_demand(self, event: PreviewDemand) -> None:
        """Have the engine make previews of a job's pictures, or stop it."""
        if (active := self._active.get(event.job_id)) is not None:
            for index in active.painting:
                self._spawn(self._engine.set_preview(active.recipes[index].id, enabled=event.wanted))

    async def _feed(self) -> None:
        """Hand over the next batches while the slots still draw the last ones, as long as anything waits."""
        async with asyncio.TaskGroup() as paints:
            while True:
                await self._queue.wait_nonempty()
                if not self._batcher.placement.is_ready():
                    await self._engine_ready()
                    self._batcher.set_slots(self._engine.slots())
                # Pictures that are drawn must be stored first.
                await self._files.wait_for_room()
                self._turned_at = self._clock.monotonic()
                try:
                    batches = await self._claims.next_batches()
                except Unavailable as e:
                    # The database logs its own fault once; this may go on for hours.
                    log.debug("no job can be claimed (%s)", e.key)
                    await self._clock.sleep(_DATABASE_PAUSE)
                except Exception:
                    log.exception("no job can be claimed")
                    await self._clock.sleep(_DATABASE_PAUSE)
                else:
                    if batches is None:
                        # A slot has room after its next picture, or for a job that overtakes.
                        await self._queue.wait_changed()
                    for batch in batches or ():
                        paints.create_task(self._paint(batch, self._hand_over(batch)), name=f"paint {batch.slot}")

    async def _follow_slots(self) -> None:
        """Give work to slots as soon as they are ready, and none to those that are not."""
        while True:
            await self._engine.slots_changed()
            self._batcher.set_slots(self._engine.slots())
            for slot in self._batcher.placement.gone():
                # A call that came just after the loss would wait until the slot is back; others draw it sooner.
                for call in self._calls[slot]:
                    self._end_call(call)

    @asynccontextmanager
    async def _call(self, slot: str) -> AsyncIterator[None]:
        """A call of ``paint``, which raises TimeoutError where its slot is gone."""
        async with asyncio.timeout(None) as call:
            self._calls[slot].add(call)
            if self._batcher.placement.is_gone(slot):
                # It was lost while the batch was claimed.
                self._end_call(call)
            try:
                yield
            finally:
                self._calls[slot].discard(call)

    @staticmethod
    def _end_call(call: asyncio.Timeout) -> None:
        if not call.expired():
            call.reschedule(asyncio.get_running_loop().time())

    async def _engine_ready(self) -> None:
        """Return once a slot can draw. While none can start, jobs wait: the operator may repair it."""
        said = ""
        while True:
            try:
                return await self._engine.warm()
            except EngineError as e:
                if str(e) != said:
                    said = str(e)
                    log.error("the engine can't start: %s", said)
                await self._clock.sleep(_ENGINE_PAUSE)

    def _hand_over(self, batch: Claimed) -> InFlightBatch:
        """Note what a slot is given, before anything is awaited."""
        for active, item in batch.items:
            with self._log_context(active.job.id):
                log.debug("%d pictures go to slot %s", len(item.indexes), batch.slot)
            if not (active.painting or active.done or active.failed):
                self._metrics.begun(self._clock.now() - active.job.created_at)
            if not active.painting:
                about: dict[str, str | int] = {
                    "easel.model": active.job.request.model,
                    "easel.pictures": len(active.recipes),
                    "easel.slot": batch.slot,
                }
                self._metrics.traces.begun(active.job.id, about)
            active.painting.update(item.indexes)
            active.slots.update(dict.fromkeys(item.indexes, batch.slot))
            self._progress.begin(active, batch.slot)
            self._bus.publish(JobChanged(active.job.id, InChats.LATER))
        items = [(item, [self._named(active, i) for i in item.indexes]) for active, item in batch.items]
        return self._batcher.begin(batch.slot, items, batch.per_step)

    def _named(self, active: ActiveJob, index: int) -> Recipe:
        """Return a recipe with the request behind it, which the engine's log lines name."""
        return replace(active.recipes[index], request=self._requests.get(active.job.id, ""))

    @contextmanager
    def _log_context(self, job_id: int) -> Iterator[None]:
        """Name a job and its request in the log lines of the block."""
        with job_context(job_id), request_context(self._requests.get(job_id, "")):
            yield

    async def _paint(self, batch: Claimed, in_flight: InFlightBatch) -> None:
        lost = False
        try:
            paint = self._engine.paint(list(in_flight.recipes), in_flight.lane, batch.slot)
            async with self._call(batch.slot), aclosing(paint) as events:
                async for event in events:
                    self._batcher.on_event(in_flight, event)
                    self._on_event(event)
        except (EngineLost, TimeoutError) as e:
            log.warning("slot %s was lost with jobs %s: %s", batch.slot, batch.job_ids(), e)
            lost = True
        except Exception:
            log.exception("painting jobs %s on slot %s ended unexpectedly", batch.job_ids(), batch.slot)
            lost = True
        if lost:
            self._metrics.lost.inc()
            self._batcher.lost(in_flight)
            # It is given nothing until it is back; others draw what it had.
            self._batcher.set_slots(self._engine.slots())
        self._batcher.end(in_flight)
        for active, item in batch.items:
            with self._log_context(active.job.id):
                try:
                    await self._batch_ended(active, item, lost=lost)
                except Exception:
                    log.exception("job %d can't be put in order; the next start does", active.job.id)

    def _on_event(self, event: Event) -> None:
        job_id, _, number = event.recipe_id.partition(":")
        active, index = self._active.get(int(job_id)), int(number)
        if active is None or index not in active.painting:
            return
        if isinstance(event, Step) and event.step > 1 and not active.cancelled:
            # It logs nothing, and comes often.
            self._on_step(active, index, event)
            return
        with self._log_context(active.job.id):
            self._on_picture(active, index, event)

    def _on_picture(self, active: ActiveJob, index: int, event: Event) -> None:
        match event:
            case Step():
                self._on_step(active, index, event)
            case Image():
                active.painting.discard(index)
                active.writing.add(index)
                active.drawn_at = self._clock.monotonic()
                self._spawn(self._store(active, index, event))
            case Failed():
                active.painting.discard(index)
                active.failed[index] = error_key(event.error.code)
                log.warning("picture %s failed on slot %s: %s", event.recipe_id, active.slots[index], event.error.code)
                self._check(active)
            case Preview():
                self._live.add_preview(active.job.id, index, event.data, event.mime)

    def _on_step(self, active: ActiveJob, index: int, event: Step) -> None:
        if active.cancelled:
            # The engine may not have known the recipe yet when the job was cancelled.
            self._drop(active, index)
            return
        if event.step == 1 and self._live.wants_previews(active.job.id):
            # Before the first step the engine may not know the recipe.
            self._spawn(self._engine.set_preview(event.recipe_id, enabled=True))
        self._progress.step(active, index, event)

    async def _batch_ended(self, active: ActiveJob, item: WorkItem, *, lost: bool) -> None:
        """Requeue what is left of one job of a batch that has ended, or end the job."""
        silent = active.painting.intersection(item.indexes)
        active.painting.difference_update(item.indexes)
        rest = item.rest()
        if active.cancelled:
            pass
        elif lost and active.remaining():
            await self._requeue_lost(active, item)
        else:
            active.failed.update(dict.fromkeys(silent, error_key(EngineError.code)))
            if rest is not None:
                self._queue.put_front(rest)
        self._check(active)

    async def _requeue_lost(self, active: ActiveJob, item: WorkItem) -> None:
        """Let the pictures of a job that a slot was lost with be drawn again, alone, by whichever slot is free first."""
        job_id, under_way = active.job.id, bool(active.lost)
        active.lost.update({*item.indexes, *item.later}.intersection(active.remaining()))
        if under_way or not active.lost:
            return  # another slot was lost with it a moment ago
        running = bool(active.painting) or self._active.is_claiming(job_id)
        if not running:
            # The row will be queued: no part of it may begin before it is claimed again.
            self._queue.remove(job_id)
            active.lost.update(active.remaining())
        try:
            again = await self._completion.requeue_lost(active, partly=running)
        finally:
            lost = tuple(sorted(active.lost))
            active.lost.clear()
        if not again:
            return
        if not running:
            self._live.end(job_id)
        if not active.cancelled:
            self._metrics.traces.queued(job_id)
            if running:
                for index in lost:
                    self._live.step(job_id, index, 0.0)
                self._queue.put_front(WorkItem(item.ticket, lost, started=True, solo=True))
            else:
                self._queue.put(item.ticket, lost, solo=True)
        self._changed(job_id)

    async def _store(self, active: ActiveJob, index: int, image: Image) -> None:
        """Store one picture while the device draws on."""
        with self._metrics.traces.part(active.job.id, "store", {"easel.picture": index}):
            await self._files.store(active, index, image)
        self._check(active)

    def _check(self, active: ActiveJob) -> None:
        """End the job if nothing of it is left to do."""
        if not active.is_idle() or not (active.cancelled or active.is_complete()):
            return
        if self._active.pop(active.job.id, None) is None:
            return
        self._progress.end(active)
        if active.cancelled:
            self._live.end(active.job.id)
            self._spawn(self._completion.discard(active))
        else:
            self._spawn(self._complete(active))

    async def _complete(self, active: ActiveJob) -> None:
        job_id = active.job.id
        try:
            await self._completion.complete(active)
        except Exception:
            log.exception("the end of job %d can't be written down; the next start draws it again", job_id)
        else:
            self._metrics.traces.ended(job_id, "painted" if active.done else "failed")
            log.info(
                "%d of %d pictures of %s were drawn", len(active.done), len(active.recipes), active.job.request.model
            )
            if active.done:
                self._overhead.stored(self._clock.monotonic() - active.drawn_at)
        self._live.end(job_id)
        self._requests.pop(job_id, None)
        if active.done:
            if (result := self._calibration.complete(job_id, now=self._clock.monotonic())) is not None:
                self._metrics.predicted(result)
        else:
            self._calibration.forget(job_id)
        self._changed(job_id)

    async def _requeue_all(self) -> None:
        for active in list(self._active.values()):
            await self._completion.discard(active)
        self._active.clear()
        await self._completion.requeue_running()

    def _changed(self, job_id: int) -> None:
        self._bus.publish(JobChanged(job_id))

    def _drop(self, active: ActiveJob, index: int) -> None:
        self._spawn(self._engine.drop(active.recipes[index].id))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a task of the dispatcher failed", exc_info=error)
