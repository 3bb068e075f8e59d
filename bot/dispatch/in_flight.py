"""How much is with the engine: enough that it never waits, little enough that the queue still decides who is next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bot.queue.work_item import Charge, WorkItem
from engine.contract import Lane, Recipe

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
