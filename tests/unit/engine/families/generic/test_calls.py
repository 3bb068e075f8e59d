from __future__ import annotations

import contextlib
import contextvars
import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.families.generic import calls
from engine.families.generic.calls import PausedCall

Pause = Callable[[], None]


def named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_it_runs_from_pause_to_pause_on_one_thread_of_its_own() -> None:
    seen: list[tuple[int, str]] = []

    def count(pause: Pause) -> str:
        for number in range(3):
            seen.append((number, threading.current_thread().name))
            pause()
        return "end"

    call = PausedCall(count, "mine")
    assert (seen, named("mine")) == ([], [])
    for number in range(3):
        call.resume()
        assert [n for n, _ in seen] == list(range(number + 1))
        assert not call.returned
    call.resume()
    assert (call.returned, call.result) == (True, "end")
    assert {name for _, name in seen} == {"mine"}
    assert named("mine") == []


def test_several_take_turns_and_never_run_at_once() -> None:
    running, order = 0, []

    def one(name: str) -> Callable[[Pause], str]:
        def steps(pause: Pause) -> str:
            nonlocal running
            for number in range(20):
                running += 1
                assert running == 1
                order.append((name, number))
                running -= 1
                pause()
            return name

        return steps

    calls = [PausedCall(one(name), name) for name in "abc"]
    for _ in range(21):
        for call in calls:
            call.resume()
    assert [call.result for call in calls] == ["a", "b", "c"]
    assert order == [(name, number) for number in range(20) for name in "abc"]


def test_finished_it_pauses_no_more() -> None:
    pauses = 0

    def count(pause: Pause) -> int:
        nonlocal pauses
        for _ in range(5):
            pause()
            pauses += 1
        return pauses

    call = PausedCall(count, "mine")
    call.resume()
    assert (pauses, call.finish(), call.finish()) == (0, 5, 5)


@pytest.mark.parametrize("error", [ValueError("bad"), SystemExit(3), MemoryError()])
def test_what_it_raises_is_raised_where_it_is_resumed(error: BaseException) -> None:
    def fail(pause: Pause) -> None:
        pause()
        raise error

    call = PausedCall(fail, "mine")
    call.resume()
    with pytest.raises(type(error)) as caught:
        call.resume()
    assert caught.value is error
    assert not call.returned
    assert named("mine") == []
    call.close()


def test_closed_it_ends_where_it_is_paused() -> None:
    ended: list[str] = []

    def work(pause: Pause) -> None:
        try:
            pause()
            ended.append("went on")
        except Exception:  # noqa: BLE001  # a pipeline that catches everything it knows
            ended.append("caught")
        finally:
            ended.append("finally")

    call = PausedCall(work, "mine")
    call.resume()
    call.close()
    assert (ended, call.closed, call.returned) == (["finally"], True, False)
    assert named("mine") == []
    call.close()


def test_closed_before_it_began_it_never_runs() -> None:
    call = PausedCall(lambda _: pytest.fail("it ran"), "mine")
    call.close()
    assert call.closed


def test_closed_it_can_not_pause_once_more() -> None:
    def stubborn(pause: Pause) -> None:
        while True:
            try:
                pause()
            except BaseException:  # noqa: BLE001  # this one catches all
                pause()

    call = PausedCall(stubborn, "mine")
    call.resume()
    call.close()
    assert named("mine") == []


def test_closed_after_its_end_it_keeps_its_result() -> None:
    call = PausedCall(lambda _: 3, "mine")
    call.resume()
    call.close()
    assert (call.result, call.closed) == (3, False)


def test_it_has_the_context_of_its_maker() -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
    variable.set(7)
    call = PausedCall(lambda _: variable.get(), "mine")
    variable.set(8)
    assert call.finish() == 7


def test_what_it_held_is_freed_with_it() -> None:
    class Tensor:
        pass

    held: list[weakref.ref[Tensor]] = []

    def work(pause: Pause) -> None:
        tensor = Tensor()
        held.append(weakref.ref(tensor))
        pause()
        raise ValueError

    for end in (PausedCall.close, PausedCall.resume):
        call = PausedCall(work, "mine")
        call.resume()
        assert held[-1]() is not None
        with contextlib.suppress(ValueError):
            end(call)
        gc.collect()
        assert held[-1]() is None


def test_a_call_that_has_ended_is_not_waited_for() -> None:
    def fails(_: Pause) -> None:
        raise KeyError

    broken = PausedCall(fails, "call")
    with pytest.raises(KeyError):
        broken.resume()
    assert broken.failed
    for again in (broken.resume, broken.finish):
        with pytest.raises(RuntimeError, match="has ended"):
            again()
    done = PausedCall(lambda _: 1, "call")
    done.resume()
    assert (done.failed, done.finish()) == (False, 1)


@pytest.mark.skipif(calls._openmp() is None, reason="another OpenMP")
def test_a_paused_call_keeps_no_openmp_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        compute()
        with_threads = openmp_threads()
        call = PausedCall(compute_and_pause, "call")
        call.resume()
        # Neither this thread nor the paused one has any; the paused thread itself remains.
        assert openmp_threads() <= with_threads
        compute()
        calls.release_openmp_threads()
        assert openmp_threads() == with_threads
        call.finish()
    finally:
        torch.set_num_threads(before)


def compute_and_pause(pause: Pause) -> None:
    compute()
    pause()


def compute() -> float:
    return float((torch.ones(512, 512) @ torch.ones(512, 512)).sum())


def openmp_threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))
