from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from engine.contract import EngineLost, ModelPlacement, Phase
from engine.host import wire
from engine.host.frames import HEAD, lengths
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


def test_the_plans_of_loaded_models_are_kept_until_the_process_ends() -> None:
    def plan(model: str, weights: int) -> ModelPlacement:
        return ModelPlacement(model, "cuda", "bf16", weights, 0, 2 * weights, 100, 1, "A plan.")

    def warm(model: str, *plans: ModelPlacement) -> wire.Warm:
        return wire.Warm(model, "bf16", "", "", 7, 0.1, placements=plans)

    status = EngineStatus("demo")
    for message in (
        warm("demo", plan("demo", 1)),
        warm("xl", plan("xl", 2)),
        warm("demo", plan("demo", 3)),
        warm("xl"),
    ):
        decoded = wire.CODEC.decode(*_parts(wire.CODEC.encode(message)))
        status.update(decoded)
    assert status.state.placements == (plan("xl", 2), plan("demo", 3))
    status.closed(EngineLost("gone"))
    assert list(status.state.placements) == []


def _parts(frame: bytes) -> tuple[bytes, bytes]:
    header, payload = lengths(frame[: HEAD.size])
    return frame[HEAD.size : HEAD.size + header], frame[HEAD.size + header : HEAD.size + header + payload]


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


async def test_one_that_fetches_files_is_waited_for_without_a_busy_loop() -> None:
    """A model that a request names may be fetched before its load is announced."""
    status = EngineStatus("demo")
    status.update(wire.Warm("demo", "fp32", "", "", 0, 1.0))
    await status.settled()
    status.update(wire.Downloading(1, 2))
    waiting = asyncio.create_task(status.settled())
    await asyncio.sleep(0)
    assert not waiting.done()
    status.update(wire.Warm("demo", "fp32", "", "", 0, 0.0))
    await waiting
