from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.contract import EngineLost, Phase
from engine.host import wire
from engine.host.supervision import EngineStatus, StepTimer


def test_which_models_need_no_load() -> None:
    status = EngineStatus("demo")
    assert status.state.without_load == {"demo"}, "it is loaded first"
    for message in (
        wire.Warm("demo", "fp4", "", "", 7, 0.1),
        wire.Resident(("demo", "xl")),
        wire.Warming("sd", "abacus"),
    ):
        status.update(message)
    assert status.state.without_load == {"demo", "xl", "sd"}, "sd is being loaded"
    status.update(wire.Resident(()))
    status.update(wire.Idle(7))
    assert (status.state.phase, status.state.without_load) == (Phase.IDLE, frozenset())
    status.update(wire.Resident(("demo",)))
    status.closed(EngineLost("gone"))
    assert status.state.resident == ()


def test_nothing_seen_is_nothing_expected() -> None:
    assert StepTimer().limit(10**6, 1) == 0


def test_what_was_seen_is_expected_again() -> None:
    timer = StepTimer()
    timer.record(100, 2, 3.0)
    assert timer.limit(100, 2) == 3.0
    assert timer.limit(50, 1) == 3.0
    timer.record(100, 2, 1.0)
    assert timer.limit(100, 2) == 2.0


def test_a_larger_picture_is_expected_to_take_the_square() -> None:
    timer = StepTimer()
    timer.record(100, 1, 1.0)
    assert timer.limit(200, 1) == 4.0
    assert timer.limit(200, 3) == 12.0


@given(st.lists(st.tuples(st.integers(1, 10**7), st.integers(1, 8), st.floats(0.001, 100)), min_size=1))
def test_the_last_size_seen_is_never_expected_faster_than_all_that_were_seen(
    seen: list[tuple[int, int, float]],
) -> None:
    timer = StepTimer()
    for pixels, count, seconds in seen:
        timer.record(pixels, count, seconds)
    pixels, count, _ = seen[-1]
    assert timer.limit(pixels, count) >= min(s for _, _, s in seen)
