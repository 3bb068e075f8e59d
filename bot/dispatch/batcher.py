"""How much is with the engine: enough that it never waits, little enough that the queue still decides who is next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bot.core.ports import Clock
from bot.dispatch.overhead import Overhead
from bot.queue.duration_estimate import DurationEstimate
from bot.queue.job_queue import JobQueue
from bot.queue.work_item import Charge, WorkItem
from engine.contract import Event, Failed, Image, Lane, Recipe, Step

FULL = 1.5
"""Batches that are with the engine when another may come: the one that is drawn, and a piece that is left of another."""

PASSES = 0.5
"""Work of at most this share of another's goes before it in the engine, which sets the longer one aside."""


@dataclass(slots=True, eq=False)
class InFlightBatch:
    """What was handed to the engine together.

    Attributes:
        recipes: Its pictures.
        room: How many of them share a step.
        solo: It is tried alone.
        lane: How urgent it is.
        bills: What each picture was charged, by recipe id.
        left: Work that is left of each picture, in pixels times steps, by recipe id.
    """

    recipes: Iterable[Recipe]
    room: int
    solo: bool
    lane: Lane = Lane.INTERACTIVE
    bills: Mapping[str, Charge] = field(default_factory=dict)
    left: dict[str, int] = field(init=False)
    _whole: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self._whole = {r.id: r.width * r.height * r.steps for r in self.recipes}
        self.left = dict(self._whole)

    def stepped(self, recipe_id: str, share: float) -> None:
        """So much (0 to 1) of a picture is done."""
        if recipe_id in self.left:
            self.left[recipe_id] = int(self._whole[recipe_id] * (1 - share))

    def done(self, recipe_id: str) -> float:
        """How much (0 to 1) of a picture that is with the engine is done."""
        return 1 - self.left[recipe_id] / max(1, self._whole[recipe_id])

    def ended(self, recipe_id: str) -> None:
        """A picture has come, or never will."""
        self.left.pop(recipe_id, None)


class InFlight:
    """The batches that are with the engine."""

    def __init__(self, most: int) -> None:
        """Args:
        most: So many batches at once at the most; half of them may be bulk, so that urgent ones find room.
        """
        self._most = most
        self._open: list[InFlightBatch] = []

    def begin(self, batch: InFlightBatch) -> None:
        """It is handed to the engine."""
        self._open.append(batch)

    def end(self, batch: InFlightBatch) -> None:
        """Nothing of it is with the engine any more."""
        self._open.remove(batch)

    def empty(self) -> bool:
        """Nothing is with the engine."""
        return not self._open

    def bulk(self) -> list[InFlightBatch]:
        """Those that urgent work passes."""
        return [batch for batch in self._open if batch.lane is Lane.BULK]

    def fits(self, work: WorkItem, lane: Lane = Lane.INTERACTIVE) -> bool:
        """Whether this may be handed over now: before it in the engine is one batch, not counting what it would pass.

        What was in a batch that was lost is alone there, so that it can take nobody else with it.
        """
        if not self._open:
            return True
        most = self._most if lane is Lane.INTERACTIVE else max(1, self._most // 2)
        if work.solo or any(b.solo for b in self._open) or len(self._open) >= most:
            return False
        before = (b for b in self._open if b.lane is Lane.INTERACTIVE or lane is Lane.BULK)
        return sum(self._load(b, work.ticket.work) for b in before) <= FULL

    @staticmethod
    def _load(batch: InFlightBatch, work: int) -> float:
        return sum(work > left * PASSES for left in batch.left.values()) / batch.room


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
