"""Measured choices about steps: how many pictures share one, and whether rows of different lengths run apart. No torch."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

MIN_SAMPLES = 3
"""Steps that must have been measured before their time counts."""

GAIN = 1.03
"""A step is worth twice as many pictures if each of them takes at most 1 / GAIN of the time. Otherwise fewer share it: the
first of them are ready earlier, and the last at the same time."""

SHORT = 0.005
"""Seconds of a step below which its size stays: nobody waits for it, and its time is that of the host."""

GROWTH = 4
"""Most pictures that share a step, as a multiple of the start value."""

RETRY = 100
"""Steps of a kind after which the other choice is measured once more, since a busy machine may have spoiled its time."""


class StepKind(NamedTuple):
    """What must be equal for the times of two steps to be comparable.

    Attributes:
        model: Name of the model's profile.
        width: Pixels.
        height: Pixels.
        precision: Number format.
        guided: Whether pictures take two predictions a step.
    """

    model: str
    width: int
    height: int
    precision: str
    guided: bool


@dataclass(slots=True)
class _Sample:
    count: int = 0
    seconds: float = 0.0

    @property
    def known(self) -> bool:
        return self.count >= MIN_SAMPLES


@dataclass(slots=True)
class _Timings:
    """Shortest seconds by what was tried, and how many steps were measured in all."""

    samples: dict[Hashable, _Sample] = field(default_factory=dict)
    steps: int = 0

    def record(self, choice: Hashable, seconds: float) -> None:
        sample = self.samples.setdefault(choice, _Sample())
        sample.count += 1
        # Disturbances only make a step slower, so the quickest is the truest. It fades slowly, since devices get warm.
        sample.seconds = seconds if sample.count == 1 else min(seconds, sample.seconds * 1.01)
        self.steps += 1

    def known(self, choice: Hashable) -> float | None:
        """Return the seconds; None where too few steps were measured."""
        sample = self.samples.get(choice)
        return sample.seconds if sample is not None and sample.known else None

    @property
    def retrying(self) -> bool:
        """Whether it is time to measure the other choice again."""
        return self.steps % RETRY == RETRY - 1


class BatchTuner:
    """How many pictures share a step, from the seconds that a step takes for each of them.

    From its start value the number is halved where twice as many gain nothing, and doubled where they gain. The number
    that is compared with is tried for some steps first.
    """

    def __init__(self) -> None:
        self._timings: dict[StepKind, _Timings] = {}

    def record(self, kind: StepKind, count: int, seconds: float) -> None:
        """Record how long a step of ``count`` pictures took."""
        self._timings.setdefault(kind, _Timings()).record(count, seconds / count)

    def max_batch(self, kind: StepKind, start: int, most: int) -> int:
        """Return how many pictures may share the next step.

        Args:
            kind: Their kind.
            start: The number while nothing is measured.
            most: As many as there is memory for.
        """
        start = min(start, most)
        timings = self._timings.get(kind)
        if timings is None:
            return start
        count = start
        while count > 1 and not self._short(timings, count):
            gains = self._gains(timings, count // 2, count)
            if gains is None:
                # Of the half, nothing is known: it is tried once the whole is measured.
                return count if timings.known(count) is None else count // 2
            if gains:
                break
            if timings.retrying:
                return count
            count //= 2
        if count < start:
            return count
        limit = min(most, start * GROWTH)
        while 2 * count <= limit and timings.known(count) is not None and not self._short(timings, count):
            gains = self._gains(timings, count, 2 * count)
            if gains is False:
                return 2 * count if timings.retrying else count
            count *= 2
        return count

    @staticmethod
    def _short(timings: _Timings, count: int) -> bool:
        """Whether a step of ``count`` pictures is too short to be of interest."""
        each = timings.known(count)
        return each is not None and each * count < SHORT

    @staticmethod
    def _gains(timings: _Timings, half: int, whole: int) -> bool | None:
        """Whether each picture is ready sooner in the whole than in the half; None while that is not known."""
        small, large = timings.known(half), timings.known(whole)
        return None if small is None or large is None else small >= large * GAIN


class SplitTuner:
    """Whether rows of different lengths run in one call with an attention mask, or apart in calls that need none.

    Both are measured, then the quicker one is taken.
    """

    def __init__(self) -> None:
        self._timings: dict[Hashable, _Timings] = {}

    def record(self, kind: Hashable, seconds: float, *, apart: bool) -> None:
        """Record how long a step took."""
        self._timings.setdefault(kind, _Timings()).record(apart, seconds)

    def apart(self, kind: Hashable) -> bool:
        """Whether the rows of the next step run apart."""
        timings = self._timings.get(kind)
        if timings is None:
            return False
        together, apart = timings.known(False), timings.known(True)
        if together is None or apart is None:
            return together is not None
        return (apart < together) is not timings.retrying
