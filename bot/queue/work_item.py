"""A piece of work as the queue hands it out, and what its person was charged for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bot.core.ports import Ticket
from engine.contract import Lane


@dataclass(frozen=True, slots=True)
class Charge:
    """What each picture of a piece was charged when it was handed out; put right once its time was measured.

    Attributes:
        ticket: Whose.
        lane: In which lane.
        each: Seconds of the device for one picture, as expected.
        place_weight: What the place weighed then.
        person_weight: What the person weighed then.
    """

    ticket: Ticket
    lane: Lane
    each: float
    place_weight: float
    person_weight: float


@dataclass(frozen=True, slots=True)
class WorkItem:
    """What is still to be painted of one job.

    Attributes:
        ticket: What was queued.
        indexes: Pictures of the job to paint, 0-based; never empty.
        later: Pictures that found no room in this batch and go back into the queue after it.
        started: An earlier batch has taken some of its pictures: its row is running already.
        solo: It was in a batch that was lost, and is tried alone so that it can take nobody else with it.
        bill: What it was charged; None while it waits.
    """

    ticket: Ticket
    indexes: tuple[int, ...]
    later: tuple[int, ...] = ()
    started: bool = False
    solo: bool = False
    bill: Charge | None = None

    def first(self, n: int) -> WorkItem:
        """The first ``n`` of its pictures; the others are for later."""
        return replace(self, indexes=self.indexes[:n], later=self.indexes[n:])

    def rest(self) -> WorkItem | None:
        """What is left for later; None when nothing is."""
        return replace(self, indexes=self.later, later=(), started=True, bill=None) if self.later else None

    def whole(self) -> WorkItem:
        """The piece and what was left for later, as it waited."""
        return replace(self, indexes=self.indexes + self.later, later=(), bill=None)
