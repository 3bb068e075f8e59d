"""Decides what each slot of the engine is given next, and charges for it.

Charges are in reference seconds: the same picture costs a person the same on a slow slot as on a fast one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from bot.core.ports import Clock, SlotReport
from bot.dispatch.in_flight import InFlightBatch
from bot.dispatch.placement import SlotPlacement
from bot.queue.fair_queue import WorkItem
from bot.queue.job_queue import JobQueue
from bot.queue.timing import DurationEstimate, Overhead, SlotSpeeds
from engine.contract import Event, Failed, Image, Recipe, Slot, Step

MIN_BATCH = 4
"""Pictures of one kind that are handed over together even where fewer share a step: as many as a chat may ask for."""


class Batcher:
    """Chooses batches for slots, follows their pictures, and settles the charges. No database access.

    Attributes:
        placement: The slots, and what they have.
        speeds: How fast each slot is.
    """

    def __init__(
        self,
        queue: JobQueue,
        estimate: DurationEstimate,
        slots: Sequence[Slot],
        *,
        overhead: Overhead,
        clock: Clock,
    ) -> None:
        """Args:
        queue: What waits.
        estimate: Told how long pictures took.
        slots: The engine's slots.
        overhead: Told when slots work, and how long pictures took.
        clock: Time.
        """
        self._queue = queue
        self._overhead = overhead
        self._clock = clock
        self.speeds = SlotSpeeds(estimate)
        self.placement = SlotPlacement(slots, queue, estimate=estimate, speeds=self.speeds, clock=clock)
        self._paused = False

    @property
    def paused(self) -> bool:
        """Whether nothing new is begun."""
        return self._paused

    def set_paused(self, on: bool) -> None:
        """Begin nothing new while ``on``; jobs that were begun are drawn to the end."""
        self._paused = on
        if on:
            for load in self.placement.loads.values():
                if load.in_flight.is_empty():
                    self._overhead.idle(load.id)
        self._queue.notify()

    def set_slots(self, slots: Sequence[Slot]) -> None:
        """The engine has these slots now, in these states."""
        self.placement.update(slots)
        self._queue.notify()

    def preemptible_jobs(self) -> frozenset[int]:
        """Return the jobs with the engine that it sets aside as soon as something urgent comes."""
        loads = self.placement.loads.values()
        batches = (batch for load in loads for batch in load.in_flight.bulk())
        return frozenset(c.ticket.job_id for batch in batches for c in batch.charges.values())

    def reports(self) -> list[SlotReport]:
        """Return the slots, and what each of them draws."""
        found = []
        for load in self.placement.loads.values():
            jobs = load.in_flight.pictures()
            found.append(
                SlotReport(load.id, load.slot.state, self.speeds.of(load.id), sorted(jobs), sum(jobs.values()))
            )
        return found

    def choose(self) -> Iterator[tuple[str, WorkItem]]:
        """Yield the slots that are to be given a batch now, and the item that begins it; nothing while paused.

        ``take`` each batch before the next one is asked for.
        """
        if self._paused:
            return
        chosen = set()
        for load, lead in self.placement.choose():
            chosen.add(load.id)
            yield load.id, lead
        for load in self.placement.loads.values():
            # What waits is for other slots: the service does not keep this one waiting.
            if load.in_flight.is_empty() and load.id not in chosen:
                self._overhead.idle(load.id)

    def take(self, slot: str, per_step: int, lead: WorkItem) -> tuple[WorkItem, ...]:
        """Take the batch that ``lead`` begins for a slot out of the queue; ``per_step`` of its pictures share a step.

        With several slots, the pictures of a job that are not in the batch wait again at once, for other slots.
        """
        limit = self.placement.share(slot, lead, per_step, max(per_step, MIN_BATCH))
        able = self.placement.loads[slot].slot.can_draw
        items = self._queue.take(limit, lead, mates=lambda item: able(item.ticket.model, plain=item.ticket.plain))
        self.placement.took(items)
        if not self.placement.several:
            return items
        for item in items:
            if (rest := item.rest()) is not None:
                self._queue.put_front(rest)
        return tuple(replace(item, later=()) for item in items)

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

    def begin(self, slot: str, items: Iterable[tuple[WorkItem, Iterable[Recipe]]], per_step: int) -> InFlightBatch:
        """Note that these items are handed to a slot, each with the recipes of its pictures.

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
        batch = InFlightBatch(recipes, per_step, solo, lanes.pop(), charges, slot)
        self.placement.add(batch)
        self._overhead.busy(self._clock.monotonic(), slot)
        return batch

    def on_event(self, batch: InFlightBatch, event: Event) -> None:
        """Note what the engine says of one of the batch's pictures."""
        match event:
            case Step():
                batch.set_progress(event.recipe_id, event.step / event.steps)
            case Image():
                charge = batch.charges[event.recipe_id]
                reference = self.speeds.measured(event.slot or batch.slot, charge.ticket, event.seconds, batch.together)
                if event.slot:
                    # Its time was not the time of the batch's slot.
                    self._overhead.restart(self._clock.monotonic(), batch.slot)
                else:
                    self._overhead.drawn(event.seconds, self._clock.monotonic(), batch.slot)
                self._settle(batch, event.recipe_id, reference)
                self._picture_ended(batch)
            case Failed():
                self._settle(batch, event.recipe_id)
                self._picture_ended(batch)

    def lost(self, batch: InFlightBatch) -> None:
        """The batch's slot was lost, before ``end``."""
        self.placement.lost(batch.slot)

    def end(self, batch: InFlightBatch) -> None:
        """The batch has ended; pictures that were dropped are charged for the steps that they have taken."""
        if batch.remaining:
            # Cancelled or lost.
            self._overhead.restart(self._clock.monotonic(), batch.slot)
        for recipe_id in list(batch.remaining):
            self._settle(batch, recipe_id)
        load = self.placement.loads[batch.slot]
        self.placement.remove(batch)
        if load.in_flight.is_empty() and (self._paused or not len(self._queue)):
            self._overhead.idle(batch.slot)
        self._queue.notify()

    def _picture_ended(self, batch: InFlightBatch) -> None:
        self.placement.loads[batch.slot].changed()
        self._queue.notify()

    def _settle(self, batch: InFlightBatch, recipe_id: str, seconds: float | None = None) -> None:
        if recipe_id not in batch.remaining:
            return
        charge = batch.charges[recipe_id]
        expected = charge.seconds_per_picture * batch.progress(recipe_id)
        self._queue.settle(charge, expected if seconds is None else seconds)
        batch.discard(recipe_id)
