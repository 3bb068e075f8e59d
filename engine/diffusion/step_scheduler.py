"""Who takes the next step: urgent before bulk, short before long within bounds, and who can share a step does.

Knows no tensors: only what there is to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from engine.contract import Lane

PASSED_MOST = 3
"""So many times another may be taken up before one that came earlier; then it is drawn to its end."""

BULK_PASSED_MOST = 20
"""The same for bulk work that urgent work passes."""

BULK_SHARE = 2
"""Bulk work fills one in so many of the rows that may share a step: urgent work waits for a step to end, not for less."""

SHORTER = 0.5
"""Another is taken up first when its work is at most this share of what is left of the one being drawn."""


@dataclass(frozen=True, slots=True)
class BatchKey:
    """What rows that share a step have in common. ``precision`` is empty for the model's usual one."""

    model: str
    width: int
    height: int
    precision: str = ""

    @property
    def pixels(self) -> int:
        """Pixels of one picture."""
        return self.width * self.height


@dataclass(slots=True, eq=False)
class Turn:
    """One row's place among the others.

    Attributes:
        ticket: Whose.
        lane: How urgent.
        kind: With whom it can share a step.
        steps: Steps that are left.
        weight: What a step costs compared with another of the same size: 2 with guidance.
        alone: It shares no step, since a batch that it was in has failed.
        begun: It has taken a step.
        passed: How often another was taken up before it.
    """

    ticket: int
    lane: Lane
    kind: BatchKey
    steps: int
    weight: int = 1
    alone: bool = False
    begun: bool = False
    passed: int = 0

    @property
    def work(self) -> int:
        """What is left to do, in pixels times steps."""
        return self.steps * self.kind.pixels * self.weight


@dataclass(slots=True)
class StepScheduler:
    """Everything that is open, in the order in which it came.

    Attributes:
        most: How many rows of a kind may share a step; at least 1.
        loaded: Name of the model that is on the device: changing it costs, so it is not changed for a short one.
    """

    most: Callable[[BatchKey], int]
    loaded: str = ""
    _open: dict[int, Turn] = field(default_factory=dict)
    _current: Turn | None = None

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Turn]:
        return iter(list(self._open.values()))

    def add(self, turn: Turn) -> None:
        """Take it on; whoever came first is first."""
        self._open[turn.ticket] = turn

    def remove(self, ticket: int) -> None:
        """It has ended."""
        gone = self._open.pop(ticket, None)
        if gone is self._current:
            self._current = None

    def set_aside(self, turn: Turn) -> None:
        """It is drawn no further for now: who is next is decided anew."""
        if turn is self._current:
            self._current = None

    def next(self) -> list[Turn]:
        """Return those that take the next step together: first the one whose turn it is; empty when nothing is open."""
        if not self._open:
            return []
        if self._current is None:
            self._current = self._head()
        team = self._team(self._current)
        rivals = (t for t in self._open.values() if self._may_pass(t, self._current, joined=t in team))
        rival = min(rivals, key=lambda t: t.work, default=None)
        if rival is None:
            return team
        self._current.passed += 1
        self._current = rival
        return self._team(rival)

    def _team(self, current: Turn) -> list[Turn]:
        """Return who takes a step with this one, itself first."""
        if current.alone:
            return [current]
        mates = [t for t in self._open.values() if t is not current and self._may_join(t, current)]
        # Who has begun stays in, or it would wait for each newcomer.
        mates.sort(key=lambda t: (t.lane is Lane.BULK, not t.begun))
        most = self.most(current.kind) // (BULK_SHARE if current.lane is Lane.BULK else 1)
        return [current, *mates[: max(1, most) - 1]]

    def _head(self) -> Turn:
        """Return whose turn it is when nobody is being drawn: the first, or one that saves changing the model before.

        That is one of the loaded model, or one that was begun in another precision than the first one's.
        """
        first = min(self._open.values(), key=lambda t: (t.lane is Lane.BULK, t.passed < _bound(t)))
        if first.passed >= _bound(first):
            return first
        mates = [t for t in self._open.values() if t.lane is first.lane]
        if first.kind.model == self.loaded:
            saves = (t for t in mates if t.begun and not first.begun and _in_other_precision(t.kind, first.kind))
        else:
            saves = (t for t in mates if t.kind.model == self.loaded)
        other = next(saves, None)
        if other is None:
            return first
        first.passed += 1
        return other

    @staticmethod
    def _may_pass(turn: Turn, current: Turn, *, joined: bool) -> bool:
        """Whether it may be taken up before the one that is being drawn, which then waits."""
        if turn is current or turn.kind.model != current.kind.model or current.passed >= _bound(current):
            return False
        if turn.kind.precision != current.kind.precision:
            return False
        if turn.lane is not current.lane:
            return turn.lane is Lane.INTERACTIVE
        return not joined and not turn.begun and turn.work <= current.work * SHORTER

    @staticmethod
    def _may_join(turn: Turn, current: Turn) -> bool:
        """Whether it may share the step; bulk work does not make urgent work slower."""
        if turn.kind != current.kind or turn.alone:
            return False
        return turn.lane is Lane.INTERACTIVE or current.lane is Lane.BULK


def _in_other_precision(one: BatchKey, other: BatchKey) -> bool:
    return one.model == other.model and one.precision != other.precision


def _bound(turn: Turn) -> int:
    return BULK_PASSED_MOST if turn.lane is Lane.BULK else PASSED_MOST
