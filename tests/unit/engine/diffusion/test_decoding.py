"""Pictures are decoded on a second stream while others take steps; a stream of the processor stands for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from PIL import Image as Pillow
from torch import Tensor

from engine.contract import EngineError, Image, OutOfMemory, Overflow
from engine.diffusion.executor import FIRST_CAP, StepExecutor
from engine.diffusion.image_encoder import ImageEncoder
from engine.diffusion.request_state import RequestState
from tests.fakes.clock import FakeClock
from tests.unit.engine.diffusion.toy import TOY, Ends, OneModel, Toy


@dataclass
class Event:
    """One that is ready when the test says so, or when somebody waits."""

    stream: SlowStream
    waited: bool = False

    def query(self) -> bool:
        return self.stream.ready

    def synchronize(self) -> None:
        self.waited = True
        self.stream.waits += not self.stream.ready

    def elapsed_time(self, _: Event) -> float:
        return 2000.0


@dataclass
class SlowStream:
    """Does its work at once and says later that it is done."""

    ready: bool = False
    waits: int = 0
    inside: bool = False
    copies: list[tuple[int, ...]] = field(default_factory=list)

    @contextmanager
    def entered(self) -> Iterator[None]:
        self.inside = True
        try:
            yield
        finally:
            self.inside = False

    def event(self) -> Event:
        return Event(self)

    def to_host(self, tensor: Tensor) -> Tensor:
        assert self.inside
        self.copies.append(tuple(tensor.shape))
        return tensor.clone()


@pytest.fixture
def ends() -> Ends:
    return Ends()


@contextmanager
def drawing(
    toy: Toy, ends: Ends, stream: SlowStream, clock: FakeClock | None = None, **more: bool
) -> Iterator[StepExecutor]:
    encoder = ImageEncoder()
    models = OneModel({"fp16": toy, "fp32": Toy()} if more.pop("safer", False) else {"fp32": toy}, aside=True)
    try:
        ticks = (clock or FakeClock()).monotonic
        yield StepExecutor(models, ends, encoder, torch.device("cpu"), stream=stream, clock=ticks)
    finally:
        encoder.close()


def to_the_end(executor: StepExecutor) -> None:
    while len(executor):
        executor.step()


def test_others_take_steps_while_a_picture_is_decoded(ends: Ends) -> None:
    toy, stream = Toy(), SlowStream()
    with drawing(toy, ends, stream) as executor:
        executor.add([RequestState(1, replace(TOY, steps=2, seed=1)), RequestState(2, replace(TOY, steps=6, seed=2))])
        for _ in range(4):
            executor.step()
        assert toy.batches[2:] == [[2], [2]], "the second goes on"
        assert (len(executor), stream.waits) == (2, 0), "the first is being decoded"
        assert stream.copies == [(8, 8, 3), ()], "its bytes, and whether they are finite"
        stream.ready = True
        executor.step()
        assert (len(executor), stream.waits) == (1, 0)
        to_the_end(executor)
    first, second = ends.ends[1], ends.ends[2]
    assert isinstance(first, Image)
    assert isinstance(second, Image)
    assert first.seconds == pytest.approx(2.0, abs=0.5), "the device's own time counts"
    assert len(stream.copies) == 2, "nobody else was there when the second was decoded"


def test_it_is_the_picture_that_the_first_stream_decodes(ends: Ends) -> None:
    plain = Ends()
    for found, stream in ((ends, SlowStream()), (plain, None)):
        encoder = ImageEncoder()
        executor = StepExecutor(
            OneModel({"fp32": Toy()}, aside=True), found, encoder, torch.device("cpu"), stream=stream
        )
        executor.add(RequestState(n, replace(TOY, steps=n, seed=n)) for n in (1, 2, 3))
        to_the_end(executor)
        encoder.close()
    for ticket in (1, 2, 3):
        one, other = ends.ends[ticket], plain.ends[ticket]
        assert isinstance(one, Image)
        assert isinstance(other, Image)
        assert one.data == other.data


def test_when_nothing_else_is_left_it_is_waited_for(ends: Ends) -> None:
    stream = SlowStream()
    with drawing(Toy(), ends, stream) as executor:
        executor.add(RequestState(n, replace(TOY, steps=2, seed=n)) for n in (1, 2))
        to_the_end(executor)
    assert stream.waits == 1
    assert all(isinstance(end, Image) for end in ends.ends.values())


def test_another_size_or_model_waits_until_it_is_decoded(ends: Ends) -> None:
    """Its model may be unloaded for the next one."""
    stream = SlowStream()
    with drawing(Toy(), ends, stream) as executor:
        executor.add([RequestState(1, replace(TOY, steps=1)), RequestState(2, replace(TOY, steps=4, width=16))])
        executor.step()
        assert (len(executor), stream.waits) == (2, 0)
        executor.step()
        assert (len(executor), stream.waits) == (1, 1)
        to_the_end(executor)


def test_what_overflows_is_drawn_again_in_a_safer_precision(ends: Ends) -> None:
    toy, stream = Toy(), SlowStream()
    toy.colour = lambda seed: float("nan") if seed == 1 else 0.25
    with drawing(toy, ends, stream, safer=True) as executor:
        executor.add(RequestState(n, replace(TOY, steps=2 * n, seed=n)) for n in (1, 2))
        to_the_end(executor)
    (first, second) = (ends.ends[n] for n in (1, 2))
    assert isinstance(first, Image)
    assert isinstance(second, Image)
    assert (first.precision, second.precision) == ("fp32", "fp16")


def test_without_a_safer_precision_it_fails_alone(ends: Ends) -> None:
    toy = Toy()
    toy.colour = lambda seed: float("nan") if seed == 1 else 0.25
    with drawing(toy, ends, SlowStream()) as executor:
        executor.add(RequestState(n, replace(TOY, steps=2 * n, seed=n)) for n in (1, 2))
        to_the_end(executor)
    assert isinstance(ends.ends[1], Overflow)
    assert isinstance(ends.ends[2], Image)


def test_cancelled_while_it_is_decoded_nothing_comes(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, gone = SlowStream(), set[int]()
    monkeypatch.setattr(ends, "is_active", lambda ticket: ticket not in gone)
    with drawing(Toy(), ends, stream) as executor:
        executor.add(RequestState(n, replace(TOY, steps=2 * n, seed=n)) for n in (1, 2))
        for _ in range(2):
            executor.step()
        gone.add(1)
        stream.ready = True
        to_the_end(executor)
    assert set(ends.ends) == {2}


def test_without_memory_for_both_it_is_decoded_on_the_first_stream(ends: Ends) -> None:
    toy, short = Toy(), [True]

    def decode(_: int) -> None:
        if short.pop():
            short.append(False)
            raise torch.OutOfMemoryError("CUDA out of memory")
        short.append(False)

    toy.on_finish = decode
    with drawing(toy, ends, stream := SlowStream()) as executor:
        executor.add(RequestState(n, replace(TOY, steps=2 * n, seed=n)) for n in (1, 2))
        to_the_end(executor)
    assert stream.copies == []
    assert all(isinstance(end, Image) for end in ends.ends.values())


def test_the_second_stream_decodes_whole_pictures_again_a_while_after_memory_ran_out(ends: Ends) -> None:
    toy, stream, clock, short = Toy(), SlowStream(), FakeClock(), [1, 1]
    decoded: list[tuple[bool, bool]] = []

    def decode(_: int) -> None:
        if short:
            short.pop()
            raise torch.OutOfMemoryError("CUDA out of memory")
        decoded.append((stream.inside, toy.tiled))

    toy.on_finish = decode
    with drawing(toy, ends, stream, clock) as executor:
        executor.add(RequestState(n, replace(TOY, steps=2 * n, seed=n)) for n in (1, 2))
        to_the_end(executor)
        assert all(tiled for _, tiled in decoded)
        clock.advance(FIRST_CAP)
        decoded.clear()
        executor.add(RequestState(n, replace(TOY, steps=2 * n, seed=n)) for n in (3, 4))
        to_the_end(executor)
    assert decoded == [(True, False), (False, False)]


def test_a_step_without_memory_waits_for_what_is_decoded(ends: Ends) -> None:
    toy, stream = Toy(), SlowStream()

    def step(seeds: list[int], number: int) -> None:
        if number == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")

    toy.on_step = step
    with drawing(toy, ends, stream) as executor:
        executor.add(RequestState(n, replace(TOY, steps=2 * n, seed=n)) for n in (1, 2))
        to_the_end(executor)
    assert isinstance(ends.ends[1], Image)
    assert isinstance(ends.ends[2], OutOfMemory)
    assert stream.waits == 1


def test_a_mask_is_copied_from_main_memory_and_stays_on_the_first_stream(ends: Ends, tmp_path: Path) -> None:
    for name, shade in (("a", 90), ("mask", 255)):
        Pillow.new("L", (8, 8), shade).save(tmp_path / f"{name}.png")
    masked = replace(TOY, image=str(tmp_path / "a.png"), mask=str(tmp_path / "mask.png"), steps=2)
    with drawing(Toy(), ends, stream := SlowStream()) as executor:
        executor.add([RequestState(1, masked), RequestState(2, replace(TOY, steps=9))])
        to_the_end(executor)
    assert stream.copies == []
    assert not any(isinstance(end, EngineError) for end in ends.ends.values())
