"""The batches that one slot of the engine was given, and whether another one may be handed over to it.

Enough is with a slot that it never waits, and little enough that the queue still decides what is next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bot.queue.fair_queue import Charge, WorkItem
from engine.contract import Lane, Recipe

MAX_LOAD = 1.5
"""Batches with a slot at which another may be handed over: the current one, and part of another."""

OVERTAKES_BELOW = 0.5
"""A picture whose work is at most this share of another's goes before it in the engine, which sets the longer one aside."""


@dataclass(slots=True, eq=False)
class InFlightBatch:
    """Pictures that were handed to a slot together.

    Attributes:
        recipes: Its pictures.
        per_step: How many of them share a step.
        solo: It is drawn while no other batch is with the slot.
        lane: Its urgency.
        charges: The charge for each picture, by recipe id.
        slot: Id of the slot.
        together: How many of its pictures shared steps at first.
        remaining: Work that remains of each picture that has not ended, as ``Ticket.work``, by recipe id.
    """

    recipes: Iterable[Recipe]
    per_step: int
    solo: bool
    lane: Lane = Lane.INTERACTIVE
    charges: Mapping[str, Charge] = field(default_factory=dict)
    slot: str = ""
    together: int = field(init=False)
    remaining: dict[str, int] = field(init=False)
    _total: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self._total = {r.id: r.width * r.height * r.steps for r in self.recipes}
        self.remaining = dict(self._total)
        self.together = max(1, min(len(self._total), self.per_step))

    def set_progress(self, recipe_id: str, fraction: float) -> None:
        """Set how much (0 to 1) of a picture is done."""
        if recipe_id in self.remaining:
            self.remaining[recipe_id] = int(self._total[recipe_id] * (1 - fraction))

    def progress(self, recipe_id: str) -> float:
        """Return how much (0 to 1) of a picture that has not ended is done."""
        return 1 - self.remaining[recipe_id] / max(1, self._total[recipe_id])

    def seconds(self) -> float:
        """Return the reference seconds that its pictures are expected to take from now on."""
        charges = self.charges
        return sum(charges[r].seconds_per_picture * (1 - self.progress(r)) for r in self.remaining if r in charges)

    def discard(self, recipe_id: str) -> None:
        """A picture has ended."""
        self.remaining.pop(recipe_id, None)


class InFlight:
    """The batches that are with one slot."""

    def __init__(self, calls: int) -> None:
        """Args:
        calls: Most batches at once. At most half of them are bulk, so that urgent ones find room.
        """
        self.calls = calls
        self._batches: list[InFlightBatch] = []

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._batches)

    def add(self, batch: InFlightBatch) -> None:
        """The batch is handed to the slot."""
        self._batches.append(batch)

    def remove(self, batch: InFlightBatch) -> None:
        """The batch has ended."""
        self._batches.remove(batch)

    def is_empty(self) -> bool:
        """Whether the slot has no batch."""
        return not self._batches

    def is_full(self) -> bool:
        """Whether the slot has room for no further batch at all."""
        return len(self._batches) >= self.calls or any(batch.solo for batch in self._batches)

    def bulk(self) -> list[InFlightBatch]:
        """Return the batches that urgent work overtakes."""
        return [batch for batch in self._batches if batch.lane is Lane.BULK]

    def models(self) -> frozenset[str]:
        """Return the models of its batches."""
        return frozenset(c.ticket.model for batch in self._batches for c in batch.charges.values())

    def pictures(self) -> Counter[int]:
        """Return how many pictures of each job have not ended, by job."""
        return Counter(batch.charges[recipe].ticket.job_id for batch in self._batches for recipe in batch.remaining)

    def is_free(self, lane: Lane) -> bool:
        """Whether work of this lane would be drawn at once: it overtakes all that the slot has."""
        return not self._batches or (lane is Lane.INTERACTIVE and all(b.lane is Lane.BULK for b in self._batches))

    def seconds(self, lane: Lane = Lane.BULK) -> float:
        """Return the reference seconds of its batches that work of this lane would wait for."""
        return sum(batch.seconds() for batch in self._batches if lane is Lane.BULK or batch.lane is Lane.INTERACTIVE)

    def fits(self, item: WorkItem, lane: Lane = Lane.INTERACTIVE) -> bool:
        """Whether an item may be handed over now: at most MAX_LOAD batches would be drawn before it.

        An item that was in a lost batch is drawn alone, so that no other job is lost with it again.
        """
        if not self._batches:
            return True
        calls = self.calls if lane is Lane.INTERACTIVE else max(1, self.calls // 2)
        if item.solo or any(b.solo for b in self._batches) or len(self._batches) >= calls:
            return False
        before = (b for b in self._batches if b.lane is Lane.INTERACTIVE or lane is Lane.BULK)
        return sum(self._load(b, item.ticket.work) for b in before) <= MAX_LOAD

    @staticmethod
    def _load(batch: InFlightBatch, work: int) -> float:
        """Return how many steps' worth of the batch's pictures would be drawn before a picture of this work."""
        return sum(work > remaining * OVERTAKES_BELOW for remaining in batch.remaining.values()) / batch.per_step
