from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.host.timeouts import StepTimer, Timeouts


def test_the_pause_grows_to_its_longest() -> None:
    patience = Timeouts(first_pause=1.0, longest_pause=60.0)
    assert [patience.pause(n) for n in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert patience.pause(10**6) == 60


def test_nothing_seen_is_nothing_expected() -> None:
    assert StepTimer().step(10**6, 1) == 0


def test_what_was_seen_is_expected_again() -> None:
    pace = StepTimer()
    pace.saw(100, 2, 3.0)
    assert pace.step(100, 2) == 3.0
    assert pace.step(50, 1) == 3.0
    pace.saw(100, 2, 1.0)
    assert pace.step(100, 2) == 2.0


def test_a_larger_picture_is_expected_to_take_the_square() -> None:
    pace = StepTimer()
    pace.saw(100, 1, 1.0)
    assert pace.step(200, 1) == 4.0
    assert pace.step(200, 3) == 12.0


@given(st.lists(st.tuples(st.integers(1, 10**7), st.integers(1, 8), st.floats(0.001, 100)), min_size=1))
def test_the_last_size_seen_is_never_expected_faster_than_all_that_were_seen(
    seen: list[tuple[int, int, float]],
) -> None:
    pace = StepTimer()
    for pixels, count, seconds in seen:
        pace.saw(pixels, count, seconds)
    pixels, count, _ = seen[-1]
    assert pace.step(pixels, count) >= min(s for _, _, s in seen)
