"""Forms batches: picks them from the queue, claims their jobs in the database, and charges for them.

Enough is with the engine that it never waits, and little enough that the queue still decides what is next.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bot.core.jobs import Job
from bot.core.ports import Clock
from bot.core.requests import recipes_of
from bot.dispatch.active_job import ActiveJob, ActiveJobs
from bot.queue.fair_queue import Charge, WorkItem
from bot.queue.job_queue import JobQueue
from bot.queue.timing import DurationEstimate, Overhead
from bot.storage import inputs, jobs
from bot.storage.database import Database
from engine.contract import Engine, Event, Failed, Image, Lane, Recipe, Step

MAX_LOAD = 1.5
"""Batches with the engine at which another may be handed over: the current one, and part of another."""

OVERTAKES_BELOW = 0.5
"""A picture whose work is at most this share of another's goes before it in the engine, which sets the longer one aside."""

MIN_BATCH = 4
"""Pictures of one kind that are handed over together even where fewer share a step: as many as a chat may ask for."""

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class InFlightBatch:
    """Pictures that were handed to the engine together.

    Attributes:
        recipes: Its pictures.
        per_step: How many of them share a step.
        solo: It is drawn while no other batch is with the engine.
        lane: Its urgency.
        charges: The charge for each picture, by recipe id.
        remaining: Work that remains of each picture that has not ended, as ``Ticket.work``, by recipe id.
    """

    recipes: Iterable[Recipe]
    per_step: int
    solo: bool
    lane: Lane = Lane.INTERACTIVE
    charges: Mapping[str, Charge] = field(default_factory=dict)
    remaining: dict[str, int] = field(init=False)
    _total: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self._total = {r.id: r.width * r.height * r.steps for r in self.recipes}
        self.remaining = dict(self._total)

    def set_progress(self, recipe_id: str, fraction: float) -> None:
        """Set how much (0 to 1) of a picture is done."""
        if recipe_id in self.remaining:
            self.remaining[recipe_id] = int(self._total[recipe_id] * (1 - fraction))

    def progress(self, recipe_id: str) -> float:
        """Return how much (0 to 1) of a picture that has not ended is done."""
        return 1 - self.remaining[recipe_id] / max(1, self._total[recipe_id])

    def discard(self, recipe_id: str) -> None:
        """A picture has ended."""
        self.remaining.pop(recipe_id, None)


class InFlight:
    """The batches that are with the engine."""

    def __init__(self, slots: int) -> None:
        """Args:
        slots: Most batches at once. At most half of them are bulk, so that urgent ones find room.
        """
        self._slots = slots
        self._batches: list[InFlightBatch] = []

    def add(self, batch: InFlightBatch) -> None:
        """The batch is handed to the engine."""
        self._batches.append(batch)

    def remove(self, batch: InFlightBatch) -> None:
        """The batch has ended."""
        self._batches.remove(batch)

    def is_empty(self) -> bool:
        """Whether the engine has no batch."""
        return not self._batches

    def bulk(self) -> list[InFlightBatch]:
        """Return the batches that urgent work overtakes."""
        return [batch for batch in self._batches if batch.lane is Lane.BULK]

    def fits(self, item: WorkItem, lane: Lane = Lane.INTERACTIVE) -> bool:
        """Whether an item may be handed over now: at most MAX_LOAD batches would be drawn before it.

        An item that was in a lost batch is drawn alone, so that no other job is lost with it again.
        """
        if not self._batches:
            return True
        slots = self._slots if lane is Lane.INTERACTIVE else max(1, self._slots // 2)
        if item.solo or any(b.solo for b in self._batches) or len(self._batches) >= slots:
            return False
        before = (b for b in self._batches if b.lane is Lane.INTERACTIVE or lane is Lane.BULK)
        return sum(self._load(b, item.ticket.work) for b in before) <= MAX_LOAD

    @staticmethod
    def _load(batch: InFlightBatch, work: int) -> float:
        """Return how many steps' worth of the batch's pictures would be drawn before a picture of this work."""
        return sum(work > remaining * OVERTAKES_BELOW for remaining in batch.remaining.values()) / batch.per_step


class Batcher:
    """Decides what the engine is given next, and charges for it. No database access."""

    def __init__(
        self, queue: JobQueue, estimate: DurationEstimate, slots: int, *, overhead: Overhead, clock: Clock
    ) -> None:
        """Args:
        queue: What waits.
        estimate: Told how long pictures took.
        slots: Most batches at once with the engine.
        overhead: Told when the device works, and how long pictures took.
        clock: Time.
        """
        self._queue = queue
        self._estimate = estimate
        self._overhead = overhead
        self._clock = clock
        self._in_flight = InFlight(slots)
        self._paused = False

    @property
    def paused(self) -> bool:
        """Whether nothing new is begun."""
        return self._paused

    def set_paused(self, on: bool) -> None:
        """Begin nothing new while ``on``; jobs that were begun are drawn to the end."""
        self._paused = on
        if on and self._in_flight.is_empty():
            self._overhead.idle()
        self._queue.notify()

    def preemptible_jobs(self) -> frozenset[int]:
        """Return the jobs with the engine that it sets aside as soon as something urgent comes."""
        return frozenset(c.ticket.job_id for batch in self._in_flight.bulk() for c in batch.charges.values())

    def lead(self, resident: Collection[str]) -> WorkItem | None:
        """Return the item that begins the next batch; None while there is none.

        Args:
            resident: The models on the device.
        """
        return None if self._paused else self._queue.lead(self._in_flight.fits, resident)

    def take(self, per_step: int, lead: WorkItem) -> tuple[WorkItem, ...]:
        """Take the batch that ``lead`` begins out of the queue; ``per_step`` of its pictures share a step."""
        return self._queue.take(max(per_step, MIN_BATCH), lead)

    def put_back(self, items: Iterable[WorkItem]) -> None:
        """The batch can't be begun: its items wait as before, first in their person's queues, and are not charged."""
        for item in reversed(list(items)):
            self.refund(item)
            self._queue.put_front(item.whole())

    def refund(self, item: WorkItem) -> None:
        """The item is not handed over: take its charge back."""
        if item.charge is not None:
            for _ in item.indexes:
                self._queue.settle(item.charge, 0.0)

    def begin(self, items: Iterable[tuple[WorkItem, Iterable[Recipe]]], per_step: int) -> InFlightBatch:
        """Note that these items are handed to the engine, each with the recipes of its pictures.

        Returns the batch, which is to be drawn in its lane.
        """
        recipes: list[Recipe] = []
        charges, solo = {}, False
        for item, its_recipes in items:
            recipes += its_recipes
            solo = solo or item.solo
            assert item.charge is not None
            charges.update(dict.fromkeys((recipe.id for recipe in its_recipes), item.charge))
        lanes = {charge.lane for charge in charges.values()}
        assert len(lanes) == 1
        batch = InFlightBatch(recipes, per_step, solo, lanes.pop(), charges)
        self._in_flight.add(batch)
        self._overhead.busy(self._clock.monotonic())
        return batch

    def on_event(self, batch: InFlightBatch, event: Event) -> None:
        """Note what the engine says of one of the batch's pictures."""
        match event:
            case Step():
                batch.set_progress(event.recipe_id, event.step / event.steps)
            case Image():
                charge = batch.charges[event.recipe_id]
                self._estimate.measured(charge.ticket, event.seconds)
                self._overhead.drawn(event.seconds, self._clock.monotonic())
                self._settle(batch, event.recipe_id, event.seconds)
                self._queue.notify()
            case Failed():
                self._settle(batch, event.recipe_id)
                self._queue.notify()

    def end(self, batch: InFlightBatch) -> None:
        """The batch has ended; pictures that were dropped are charged for the steps that they have taken."""
        if batch.remaining:
            # Cancelled or lost.
            self._overhead.restart(self._clock.monotonic())
        for recipe_id in list(batch.remaining):
            self._settle(batch, recipe_id)
        self._in_flight.remove(batch)
        if self._in_flight.is_empty() and (self._paused or not len(self._queue)):
            self._overhead.idle()
        self._queue.notify()

    def _settle(self, batch: InFlightBatch, recipe_id: str, seconds: float | None = None) -> None:
        if recipe_id not in batch.remaining:
            return
        charge = batch.charges[recipe_id]
        expected = charge.seconds_per_picture * batch.progress(recipe_id)
        self._queue.settle(charge, expected if seconds is None else seconds)
        batch.discard(recipe_id)


class BatchClaims:
    """Takes batches out of the queue. Each job is claimed once, by the transaction that makes it running."""

    def __init__(
        self,
        db: Database,
        folder: Path,
        engine: Engine,
        *,
        queue: JobQueue,
        batcher: Batcher,
        active: ActiveJobs,
        clock: Clock,
    ) -> None:
        """Args:
        db: Where the rows are.
        folder: Where pictures are written; source images are in a folder next to it.
        engine: Says how many pictures it draws together.
        queue: What waits.
        batcher: Decides what is next.
        active: Gets the claimed jobs.
        clock: Time.
        """
        self._db = db
        self._folder = folder
        self._engine = engine
        self._queue = queue
        self._batcher = batcher
        self._active = active
        self._clock = clock

    async def next_batch(self) -> list[tuple[ActiveJob, WorkItem]] | None:
        """Take the next batch out of the queue and make its jobs running.

        Returns the batch; empty when its jobs have left the queue meanwhile; None while the engine has no room.

        Raises:
            Unavailable: The database can't be read or written; everything waits as before.
        """
        lead = self._lead()
        if lead is None:
            return None
        async with self._db.read() as tx:
            job = await jobs.get(tx, lead.ticket.job_id)
        if self._lead() is not lead:
            return []
        if job is None:
            self._queue.remove(lead.ticket.job_id)
            return []
        items = self._batcher.take(self.per_step(self._recipes(job)[0]), lead)
        with self._active.claiming(item.ticket.job_id for item in items):
            return await self._claim(items)

    async def _claim(self, items: Sequence[WorkItem]) -> list[tuple[ActiveJob, WorkItem]]:
        """Make the jobs of a batch running; returns those that were not cancelled meanwhile."""
        fresh = [item.ticket.job_id for item in items if not item.started]
        try:
            async with self._db.write() as tx:
                claimed = set(await jobs.claim(tx, fresh, now=self._clock.now()))
                rows = {job_id: await jobs.get(tx, job_id) for job_id in claimed}
        except Exception:
            self._batcher.put_back(items)
            raise
        # Nothing is awaited between the commit and here, so a cancel after the commit finds the active jobs.
        for job_id, row in rows.items():
            if row is not None:
                self._active.setdefault(job_id, ActiveJob(row, self._recipes(row))).job = row
        batch = []
        for item in items:
            # A job that was cancelled meanwhile is not active, or marked as cancelled.
            active = self._active.get(item.ticket.job_id)
            if active is not None and not active.cancelled and (item.started or active.job.id in claimed):
                batch.append((active, item))
            else:
                self._batcher.refund(item)
        return batch

    def per_step(self, recipe: Recipe) -> int:
        """Return how many pictures of this kind share a step; 1 where the engine can't say."""
        try:
            return max(1, self._engine.batch(recipe))
        except Exception:
            log.exception("the engine does not say how many pictures of %s it paints together", recipe.model)
            return 1

    def _recipes(self, job: Job) -> tuple[Recipe, ...]:
        return recipes_of(job.id, job.request, inputs.data_folder(self._folder))

    def _lead(self) -> WorkItem | None:
        return self._batcher.lead(self._engine.state().without_load)
