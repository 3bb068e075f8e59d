from __future__ import annotations

from functools import partial

import pytest
import torch

from engine.diffusion import device as devices
from engine.diffusion.device import StepClock


def test_the_cpu_is_always_there() -> None:
    cpu = devices.choose("cpu")
    assert (devices.title(cpu), devices.title(cpu, "cpu:1")) == ("cpu", "cpu:1")
    assert devices.memory(cpu) >= 0
    devices.release(cpu)


def test_auto_takes_what_is_there() -> None:
    assert devices.choose("auto").type in {"cuda", "mps", "cpu"}


def test_a_card_that_is_not_there() -> None:
    with pytest.raises(devices.NoDevice, match=r"cuda:77.*set it to auto or cpu"):
        devices.choose("cuda:77")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_a_card_that_is_seen_alone_is_called_as_the_setting_calls_it() -> None:
    with pytest.raises(devices.NoDevice, match=r"EASEL_DEVICE asks for cuda:3, but"):
        devices.choose("cuda", "cuda:3")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this is a Mac")
def test_no_apple_gpu() -> None:
    with pytest.raises(devices.NoDevice, match=r"mps.*set it to auto or cpu"):
        devices.choose("mps")


class _Queue:
    """A GPU's queue: it works off what it was given only when somebody waits, and its clock counts milliseconds."""

    def __init__(self) -> None:
        self.work: list[_Mark | float] = []
        self.now = 0.0
        self.done = 0

    def run(self, milliseconds: float) -> None:
        self.work.append(milliseconds)


class _Mark:
    def __init__(self, queue: _Queue) -> None:
        self.queue = queue
        self.at: float | None = None

    def record(self) -> None:
        self.queue.work.append(self)

    def synchronize(self) -> None:
        while self.at is None:
            item = self.queue.work.pop(0)
            if isinstance(item, _Mark):
                item.at = self.queue.now
            else:
                self.queue.now += item
                self.queue.done += 1

    def elapsed_time(self, end: _Mark) -> float:
        assert self.at is not None
        assert end.at is not None
        return end.at - self.at


def test_the_host_is_one_step_ahead_of_a_gpu_and_each_step_has_its_own_time() -> None:
    queue = _Queue()
    clock = StepClock(torch.device("cuda"), partial(_Mark, queue))
    told: list[tuple[str, float]] = []
    ahead = []

    def note(name: str, seconds: float) -> None:
        told.append((name, seconds))

    for name, milliseconds in (("one", 10.0), ("eight", 40.0), ("one again", 10.0), ("last", 5.0)):
        clock.run(partial(queue.run, milliseconds), partial(note, name))
        ahead.append(sum(1 for item in queue.work if not isinstance(item, _Mark)))
    assert ahead == [1, 1, 1, 1], "one step is queued while the one before it has ended"
    assert told == [("one", 0.01), ("eight", 0.04), ("one again", 0.01)]


def test_a_step_that_fails_is_not_timed() -> None:
    queue = _Queue()
    clock = StepClock(torch.device("cuda"), partial(_Mark, queue))
    told: list[float] = []

    def fail() -> None:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        clock.run(fail, told.append)
    for _ in range(2):
        clock.run(partial(queue.run, 7.0), told.append)
    assert told == [0.007]


def test_a_processor_has_done_a_step_when_it_returns() -> None:
    told: list[float] = []
    ran: list[bool] = []
    StepClock(torch.device("cpu")).run(lambda: ran.append(True), told.append)
    assert ran == [True]
    assert len(told) == 1
    assert told[0] >= 0
