"""What goes to the engine next, what is there, and what everybody is charged for it; the rows are others' business."""

from __future__ import annotations

from collections.abc import Iterable

from bot.core.ports import Clock
from bot.dispatch.in_flight import InFlight, InFlightBatch
from bot.dispatch.overhead import Overhead
from bot.queue.duration_estimate import DurationEstimate
from bot.queue.job_queue import JobQueue
from bot.queue.work_item import WorkItem
from engine.contract import Event, Failed, Image, Recipe, Step

TOGETHER = 4
"""So many pictures of one kind are handed over at once even where fewer share a step: what a chat may ask for."""


class Batcher:
    """Between the queue and the engine."""

    def __init__(
        self, queue: JobQueue, estimate: DurationEstimate, slots: int, *, overhead: Overhead, clock: Clock
    ) -> None:
        """Args:
        queue: What waits.
        estimate: Told how long pictures took.
        slots: How many batches are worth having with the engine.
        overhead: Told how much time passes while pictures are drawn.
        clock: Time.
        """
        self._queue = queue
        self._estimate = estimate
        self._overhead = overhead
        self._clock = clock
        self._window = InFlight(slots)
        self._held = False

    @property
    def held(self) -> bool:
        """Nothing new is begun."""
        return self._held

    def hold(self, on: bool) -> None:
        """Begin nothing new until it is off again; what has begun is drawn to its end."""
        self._held = on
        if on and self._window.empty():
            self._overhead.idle()
        self._queue.touch()

    def set_aside(self) -> frozenset[int]:
        """Jobs with the engine that it sets aside as soon as something urgent comes."""
        return frozenset(b.ticket.job_id for batch in self._window.bulk() for b in batch.bills.values())

    def lead(self, loaded: str) -> WorkItem | None:
        """Who leads the next batch now; None while nobody may. ``loaded`` is the model on the device."""
        return None if self._held else self._queue.lead(self._window.fits, loaded)

    def take(self, room: int, lead: WorkItem) -> tuple[WorkItem, ...]:
        """Take out the batch that ``lead`` begins; ``room`` pictures of its kind share a step."""
        return self._queue.take(max(room, TOGETHER), lead)

    def return_to_queue(self, works: Iterable[WorkItem]) -> None:
        """They could not be handed over: they wait as before, in front of their lines, and are charged nothing."""
        for work in reversed(list(works)):
            self.refund(work)
            self._queue.give_back(work.whole())

    def refund(self, work: WorkItem) -> None:
        """It is not handed over: nothing is charged for it."""
        if work.bill is not None:
            for _ in work.indexes:
                self._queue.settle(work.bill, 0.0)

    def begin(self, works: Iterable[tuple[WorkItem, Iterable[Recipe]]], room: int) -> InFlightBatch:
        """These go to the engine now, each with the recipes of its pictures.

        Returns the batch; its lane is the lane to paint it in.
        """
        recipes: list[Recipe] = []
        bills, solo = {}, False
        for work, its in works:
            recipes += its
            solo = solo or work.solo
            assert work.bill is not None
            bills.update(dict.fromkeys((recipe.id for recipe in its), work.bill))
        lanes = {bill.lane for bill in bills.values()}
        assert len(lanes) == 1
        batch = InFlightBatch(recipes, room, solo, lanes.pop(), bills)
        self._window.begin(batch)
        self._overhead.busy(self._clock.monotonic())
        return batch

    def note(self, batch: InFlightBatch, event: Event) -> None:
        """The engine says this of one of the batch's pictures."""
        match event:
            case Step():
                batch.stepped(event.recipe_id, event.step / event.steps)
            case Image():
                bill = batch.bills[event.recipe_id]
                self._estimate.measured(bill.ticket, event.seconds)
                self._overhead.drawn(event.seconds, self._clock.monotonic())
                self._ended(batch, event.recipe_id, event.seconds)
                self._queue.touch()
            case Failed():
                self._ended(batch, event.recipe_id)
                self._queue.touch()

    def end(self, batch: InFlightBatch) -> None:
        """Nothing of it is with the engine any more; what was dropped is charged for the steps that it has had."""
        if batch.left:
            # Cancelled or lost.
            self._overhead.restart(self._clock.monotonic())
        for recipe_id in list(batch.left):
            self._ended(batch, recipe_id)
        self._window.end(batch)
        if self._window.empty() and (self._held or not len(self._queue)):
            self._overhead.idle()
        self._queue.touch()

    def _ended(self, batch: InFlightBatch, recipe_id: str, seconds: float | None = None) -> None:
        if recipe_id not in batch.left:
            return
        bill = batch.bills[recipe_id]
        self._queue.settle(bill, bill.each * batch.done(recipe_id) if seconds is None else seconds)
        batch.ended(recipe_id)
