"""From waiting to painted: hands batches to the engine, and ends each job when its last picture has."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

from bot.cards.job_card import error_key
from bot.core.errors import Unavailable
from bot.core.ports import Clock
from bot.dispatch.active_job import ActiveJob
from bot.dispatch.batcher import Batcher, InFlightBatch
from bot.dispatch.claims import BatchClaims
from bot.dispatch.completion import Completion
from bot.dispatch.image_files import ImageFiles
from bot.dispatch.live import Live
from bot.dispatch.overhead import Overhead
from bot.observability.metrics import Metrics
from bot.queue.job_queue import JobQueue
from bot.queue.work_item import WorkItem
from engine.contract import Engine, EngineError, EngineLost, Event, Failed, Image, Preview, Step

_PAUSE = 1.0
"""Seconds until the next try after the database could not be read or written."""

_BROKEN_PAUSE = 5.0
"""Seconds between two looks at an engine that can't start."""

_SEEN_EVERY = 0.2
"""Seconds between two looks at how far a job is."""

_PREEMPTED_AFTER = 1.0
"""Seconds without a step, while others take steps, after which a job's card says so: a shorter pause would only flicker."""

log = logging.getLogger(__name__)


class Dispatcher:
    """Feeds the engine. Whatever goes wrong with a job ends that job, never the loop."""

    def __init__(
        self,
        engine: Engine,
        *,
        claims: BatchClaims,
        files: ImageFiles,
        queue: JobQueue,
        feed: Batcher,
        live: Live,
        endings: Completion,
        overhead: Overhead,
        changed: Callable[[int], None],
        ended: Callable[[int, bool], None],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        """Args:
        engine: Draws.
        claims: Takes the next batch out of the queue.
        files: Keeps pictures.
        queue: What waits.
        feed: Says who is next, and keeps what is with the engine.
        live: Told of progress.
        endings: Writes down how a job ended.
        overhead: Told how long storing takes.
        changed: Called when a job looks different now.
        ended: Called when all pictures of a job have ended, and with whether there are any.
        clock: Time.
        metrics: Counts pictures and losses.
        """
        self._engine = engine
        self._claims = claims
        self._files = files
        self._queue = queue
        self._feeding = feed
        self._live = live
        self._endings = endings
        self._overhead = overhead
        self._changed = changed
        self._told_end = ended
        self._clock = clock
        self._metrics = metrics
        self._runs = claims.runs
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        live.on_look = self._look

    @property
    def runs(self) -> Mapping[int, ActiveJob]:
        """Jobs that are being drawn, or wait again with some of their pictures done, by id."""
        return self._runs

    def has(self, job_id: int) -> bool:
        """Whether the job was taken out of the queue and has not ended."""
        return job_id in self._runs or self._claims.has(job_id)

    def forget(self, job_id: int) -> None:
        """The job was cancelled: what the engine draws of it is dropped, and nothing of it is kept."""
        if (run := self._runs.get(job_id)) is not None:
            run.cancelled = True
            for index in run.painting:
                self._drop(run, index)
            self._check(run)

    def stop(self) -> None:
        """Begin nothing more; ``run`` puts what is not finished back into the queue and returns."""
        self._stop.set()
        self._files.stop()

    async def run(self) -> None:
        """Work until ``stop``. Cancelled, it leaves the rows as a kill would, and the next start puts them right."""
        feed = asyncio.create_task(self._feed(), name="feed")
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        try:
            await asyncio.wait({feed, stop}, return_when=asyncio.FIRST_COMPLETED)
            feed.cancel()
            await asyncio.wait({feed})
            if not feed.cancelled():
                feed.result()
            while self._tasks:
                await asyncio.wait(self._tasks)
            await self._put_back()
        finally:
            for task in (feed, stop, *self._tasks):
                task.cancel()
            await asyncio.gather(feed, stop, *self._tasks, return_exceptions=True)

    async def _feed(self) -> None:
        """Hand work to the engine as long as there is any: the next batch while it still draws the last one."""
        async with asyncio.TaskGroup() as paints:
            while True:
                await self._queue.filled()
                await self._ready()
                # What is drawn has to be stored: nothing more is drawn until there is room for it.
                await self._files.room()
                try:
                    batch = await self._claims.next()
                except Unavailable as e:
                    # The database says once itself what is wrong with it; this may go on for hours.
                    log.debug("no job can be claimed (%s)", e.key)
                    await self._clock.sleep(_PAUSE)
                except Exception:
                    log.exception("no job can be claimed")
                    await self._clock.sleep(_PAUSE)
                else:
                    if batch is None:
                        # It has room again after the next picture, or somebody comes who passes.
                        await self._queue.moved()
                    elif batch:
                        handed = self._hand_over(batch)
                        paints.create_task(self._paint(batch, handed), name="paint")

    async def _ready(self) -> None:
        """Return once the engine draws at once. Jobs wait while it can't start: somebody may mend that."""
        said = ""
        while True:
            try:
                return await self._engine.warm()
            except EngineError as e:
                if str(e) != said:
                    said = str(e)
                    log.error("the engine can't start: %s", said)
                await self._clock.sleep(_BROKEN_PAUSE)

    def _hand_over(self, batch: list[tuple[ActiveJob, WorkItem]]) -> InFlightBatch:
        """Note what the engine is given, before anything is awaited."""
        for run, work in batch:
            run.painting.update(work.indexes)
            self._live.begin(run.job.id, len(run.recipes))
            for index in run.done:
                self._live.step(run.job.id, index, 1.0)
            self._changed(run.job.id)
        works = [(work, [run.recipes[i] for i in work.indexes]) for run, work in batch]
        return self._feeding.begin(works, self._claims.room(works[0][1][0]))

    async def _paint(self, batch: list[tuple[ActiveJob, WorkItem]], handed: InFlightBatch) -> None:
        recipes = list(handed.recipes)
        lost = False
        try:
            async with aclosing(self._engine.paint(recipes, handed.lane)) as events:
                async for event in events:
                    self._feeding.note(handed, event)
                    self._on(event)
        except EngineLost as e:
            log.warning("the engine was lost with jobs %s: %s", sorted({run.job.id for run, _ in batch}), e)
            lost = True
        except Exception:
            log.exception("painting jobs %s ended unexpectedly", sorted({run.job.id for run, _ in batch}))
            lost = True
        self._feeding.end(handed)
        if lost:
            self._metrics.lost.inc()
        for run, work in batch:
            try:
                await self._after(run, work, lost=lost)
            except Exception:
                log.exception("job %d can't be put in order; the next start does", run.job.id)

    def _on(self, event: Event) -> None:
        job_id, _, number = event.recipe_id.partition(":")
        run, index = self._runs.get(int(job_id)), int(number)
        if run is None or index not in run.painting:
            return
        match event:
            case Step():
                if run.cancelled:
                    # The engine may not have known the recipe yet when the job was cancelled.
                    self._drop(run, index)
                    return
                if event.step == 1 and self._live.looking(run.job.id):
                    # Only now the engine certainly knows the recipe.
                    self._spawn(self._engine.set_preview(event.recipe_id, enabled=True))
                self._live.step(run.job.id, index, event.step / event.steps)
                now = self._clock.monotonic()
                before, run.steps[index] = run.steps.get(index), now
                resumed = self._live.preempted(run.job.id)
                if resumed or event.step in (1, event.steps) or now - run.seen >= _SEEN_EVERY:
                    # More often than anybody can look would take time from the drawing itself.
                    run.seen = now
                    self._live.preempt(run.job.id, False)
                    self._changed(run.job.id)
                    if before is not None:
                        # Those who share its steps take one in each of them, before it or after it.
                        self._preempt(now - max(_PREEMPTED_AFTER, 1.5 * (now - before)))
            case Image():
                run.painting.discard(index)
                run.writing.add(index)
                run.drawn = self._clock.monotonic()
                self._spawn(self._store(run, index, event))
            case Failed():
                run.painting.discard(index)
                run.failed[index] = error_key(event.error.code)
                log.warning("picture %s failed: %s", event.recipe_id, event.error.code)
                self._check(run)
            case Preview():
                self._live.preview(run.job.id, index, event.data, event.mime)

    def _preempt(self, since: float) -> None:
        """Show which jobs have taken no step since then."""
        for job_id, run in self._runs.items():
            if not self._live.preempted(job_id) and run.preempted(since):
                self._live.preempt(job_id, True)
                self._changed(job_id)

    async def _after(self, run: ActiveJob, work: WorkItem, *, lost: bool) -> None:
        """A batch has ended: see to what is left of one of its jobs."""
        silent = run.painting.intersection(work.indexes)
        run.painting.difference_update(work.indexes)
        rest = work.rest()
        if run.cancelled:
            pass
        elif lost and run.left():
            if await self._endings.lost(run):
                self._live.end(run.job.id)
                if not run.cancelled:
                    self._queue.put(work.ticket, run.left(), solo=True)
                self._changed(run.job.id)
        else:
            run.failed.update(dict.fromkeys(silent, error_key(EngineError.code)))
            if rest is not None:
                self._queue.give_back(rest)
        self._check(run)

    async def _store(self, run: ActiveJob, index: int, image: Image) -> None:
        """Keep one picture; the device draws on meanwhile."""
        await self._files.keep(run, index, image, partial(self._stall, run.job.id))
        self._check(run)

    def _check(self, run: ActiveJob) -> None:
        """End the run if nothing of it is left to do."""
        if not run.idle() or not (run.cancelled or run.over()):
            return
        if self._runs.pop(run.job.id, None) is None:
            return
        if run.cancelled:
            self._live.end(run.job.id)
            self._spawn(self._endings.discard(run))
        else:
            self._spawn(self._over(run))

    async def _over(self, run: ActiveJob) -> None:
        try:
            await self._endings.over(run, partial(self._stall, run.job.id))
        except Exception:
            log.exception("the end of job %d can't be written down; the next start draws it again", run.job.id)
        else:
            if run.done:
                self._overhead.stored(self._clock.monotonic() - run.drawn)
        self._live.end(run.job.id)
        self._told_end(run.job.id, bool(run.done))
        self._changed(run.job.id)

    async def _put_back(self) -> None:
        for run in list(self._runs.values()):
            await self._endings.discard(run)
        self._runs.clear()
        await self._endings.stopped()

    def _stall(self, job_id: int, on: bool) -> None:
        """What is drawn of a job can't be stored now, or can be again."""
        self._live.stall(job_id, on)
        self._changed(job_id)

    def _look(self, job_id: int, looking: bool) -> None:
        """Somebody begins to look at a job, or the last one leaves."""
        if (run := self._runs.get(job_id)) is not None:
            for index in run.painting:
                self._spawn(self._engine.set_preview(run.recipes[index].id, enabled=looking))

    def _drop(self, run: ActiveJob, index: int) -> None:
        self._spawn(self._engine.drop(run.recipes[index].id))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a task of the dispatcher failed", exc_info=error)
