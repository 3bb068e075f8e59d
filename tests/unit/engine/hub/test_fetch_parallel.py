from __future__ import annotations

import threading

import pytest

from engine.hub.fetch import AT_ONCE, run_parallel


def test_all_are_run() -> None:
    ran: list[int] = []
    run_parallel([lambda i=i: ran.append(i) for i in range(20)], threading.Event())  # type: ignore[misc]
    assert sorted(ran) == list(range(20))
    run_parallel([], threading.Event())


@pytest.mark.parametrize("kind", [ValueError, IndexError, KeyboardInterrupt])
def test_the_first_error_ends_the_others(kind: type[BaseException]) -> None:
    stop = threading.Event()
    ended = threading.Barrier(AT_ONCE)
    late: list[int] = []

    def fail() -> None:
        ended.wait(10)
        raise kind("mine")

    def wait() -> None:
        ended.wait(10)
        assert stop.wait(10)

    tasks = [fail, *[wait] * (AT_ONCE - 1), lambda: late.append(1)]
    with pytest.raises(kind, match="mine"):
        run_parallel(tasks, stop)
    assert late == []
    assert not [thread for thread in threading.enumerate() if thread.name == "fetch"]
