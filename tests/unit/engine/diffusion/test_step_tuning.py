"""What steps are measured to take decides how many pictures share one, and whether rows run apart."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.diffusion.step_tuning import GROWTH, MIN_SAMPLES, RETRY, BatchTuner, SplitTuner, StepKind

KIND = StepKind("m", 8, 8, "fp32", guided=False)


def settled(each: Callable[[int], float], start: int = 8, most: int = 32) -> list[int]:
    """Return the batch sizes that are tried, in order, on a device where ``each`` gives a picture's seconds."""
    tuner, tried = BatchTuner(), [0]
    for _ in range(60):
        count = tuner.max_batch(KIND, start, most)
        tuner.record(KIND, count, each(count) * count)
        if count != tried[-1]:
            tried.append(count)
    return tried[1:]


@pytest.mark.parametrize(
    ("each", "tried"),
    [
        (lambda n: 1.0 + 8 / n, [8, 4, 16, 32]),  # a card that is never full: as many as GROWTH allows
        (lambda n: 1.0 + 8 / min(n, 16), [8, 4, 16, 32, 16]),  # full with 16
        (lambda n: 1.0 + 8 / min(n, 8), [8, 4, 16, 8]),  # full with the start value
        (lambda n: 1.0 + 8 / min(n, 4), [8, 4, 2, 4]),  # full with 4: the first are ready earlier
        (lambda _: 1.0, [8, 4, 2, 1]),  # no gain at all
        (lambda _: 0.0001, [8]),  # too short to matter
        (float, [8, 4, 2, 1]),  # a cache that overflows
    ],
)
def test_the_size_follows_the_gain(each: Callable[[int], float], tried: list[int]) -> None:
    assert settled(each) == tried


def test_it_grows_within_memory_and_within_a_multiple_of_the_start_value() -> None:
    assert max(settled(lambda n: 1 / n, most=20)) == 16
    assert max(settled(lambda n: 1 / n, start=2)) == 2 * GROWTH
    assert settled(lambda n: 1 / n, most=1) == [1]


def test_unmeasured_it_is_the_start_value_and_other_kinds_do_not_care() -> None:
    tuner = BatchTuner()
    for count in (8, 4):
        for _ in range(MIN_SAMPLES):
            tuner.record(KIND, count, count)
    assert tuner.max_batch(KIND, 8, 32) < 8
    for other in (KIND._replace(model="n"), KIND._replace(width=16), KIND._replace(guided=True)):
        assert tuner.max_batch(other, 8, 32) == 8


def test_one_slow_step_proves_nothing_and_slow_ones_are_measured_again() -> None:
    def each(count: int) -> float:
        return 1.0 + 8 / count

    tuner, sizes = BatchTuner(), []
    for step in range(2 * RETRY):
        sizes.append(count := tuner.max_batch(KIND, 8, 8))
        busy = 9.0 if step < MIN_SAMPLES else 1.0  # while the start value is measured
        tuner.record(KIND, count, each(count) * count * busy)
    assert sizes[MIN_SAMPLES + 5] < 8, "it seemed to be too large"
    assert sizes[-1] == 8


@pytest.mark.parametrize("quicker", [False, True])
def test_rows_run_apart_where_that_is_quicker(quicker: bool) -> None:
    tuner, chosen = SplitTuner(), []
    for _ in range(3 * MIN_SAMPLES):
        chosen.append(apart := tuner.apart("kind"))
        tuner.record("kind", 1.0 if apart is quicker else 2.0, apart=apart)
    assert chosen == [False] * MIN_SAMPLES + [True] * MIN_SAMPLES + [quicker] * MIN_SAMPLES
    assert tuner.apart("another kind") is False
    for _ in range(RETRY):
        chosen.append(apart := tuner.apart("kind"))
        tuner.record("kind", 1.0 if apart is quicker else 2.0, apart=apart)
    assert chosen[3 * MIN_SAMPLES :].count(not quicker) == 1, "the other way is tried again now and then"
