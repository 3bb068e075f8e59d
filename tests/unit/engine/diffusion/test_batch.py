from __future__ import annotations

import io
import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from engine.contract import BadRecipe, EngineError, Image, OutOfMemory, Recipe
from engine.diffusion.batch import Painter
from engine.diffusion.encode import Encoder
from engine.diffusion.families.base import AfterStep, Plan
from engine.diffusion.rows import Row

A = Recipe("a", "toy", "a", "", 8, 8, 3, 0.0, 1)
CPU = torch.device("cpu")


class Toy:
    """A family of one number a picture: its seed, over 255. Does what a test tells it to when it meets a prompt."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.on_encode: Callable[[str], None] = lambda _: None
        self.on_step: Callable[[Plan, int], None] = lambda _, __: None
        self.encoded: list[str] = []

    def guided(self, guidance: float) -> bool:
        return guidance > 0

    def encode(self, prompt: str) -> Tensor:
        self.on_encode(prompt)
        self.encoded.append(prompt)
        return torch.tensor([float("nan") if prompt == "nan" else 0.0])

    def denoise(self, plan: Plan, after_step: AfterStep) -> dict[int, Tensor]:
        self.batches.append(list(plan.seeds))
        rows = list(range(len(plan.seeds)))
        for step in range(1, plan.steps + 1):
            self.on_step(plan, step)
            rows = [r for r in after_step(step) if r in rows]
            if not rows:
                break
        return {r: torch.tensor(float(plan.seeds[r])) + plan.prompts[r] for r in rows}

    def decode(self, latents: Tensor) -> NDArray[np.float32]:
        return np.full((8, 8, 3), latents.item() / 255, np.float32)


class Ends:
    """A sink that keeps what it hears."""

    def __init__(self) -> None:
        self.dropped: set[int] = set()
        self.ends: dict[int, Image | EngineError] = {}
        self.steps: list[tuple[tuple[int, ...], int, int]] = []
        self.threads: set[str] = set()

    def wanted(self, ticket: int) -> bool:
        return ticket not in self.dropped and ticket not in self.ends

    def stepped(self, tickets: tuple[int, ...], step: int, steps: int, seconds: float) -> None:
        assert seconds >= 0
        self.steps.append((tickets, step, steps))

    def drawn(self, ticket: int, image: Image) -> None:
        assert ticket not in self.ends
        self.threads.add(threading.current_thread().name)
        self.ends[ticket] = image

    def failed(self, ticket: int, error: EngineError) -> None:
        assert ticket not in self.ends
        self.ends[ticket] = error


@pytest.fixture
def toy() -> Toy:
    return Toy()


@pytest.fixture
def ends() -> Ends:
    return Ends()


def paint(toy: Toy, ends: Ends, *recipes: Recipe, precision: str = "fp32") -> None:
    encoder = Encoder()
    try:
        Painter(toy, CPU, precision, encoder).paint([Row(n, r) for n, r in enumerate(recipes, 1)], ends)
    finally:
        encoder.close()


def value(end: Image | EngineError) -> int:
    assert isinstance(end, Image), end
    found = Pillow.open(io.BytesIO(end.data)).getpixel((0, 0))
    assert isinstance(found, tuple)
    return int(found[0])


def failure(end: Image | EngineError) -> EngineError:
    assert isinstance(end, EngineError)
    return end


def test_each_row_by_its_own_seed_and_encoded_beside_the_drawing(toy: Toy, ends: Ends) -> None:
    paint(toy, ends, A, replace(A, seed=2), replace(A, seed=3))
    assert {t: value(e) for t, e in ends.ends.items()} == {1: 1, 2: 2, 3: 3}
    assert ends.steps == [((1, 2, 3), n, 3) for n in (1, 2, 3)]
    assert all(name.startswith("encode") for name in ends.threads)


def test_nobody_waits_and_nothing_is_drawn(toy: Toy, ends: Ends) -> None:
    ends.dropped = {1, 2}
    paint(toy, ends, A, A)
    assert toy.batches == []


def test_dropped_after_a_step_it_is_in_no_later_one(toy: Toy, ends: Ends) -> None:
    toy.on_step = lambda _, step: ends.dropped.add(2) if step == 2 else None
    paint(toy, ends, A, replace(A, seed=2))
    assert ends.steps == [((1, 2), 1, 3), ((1,), 2, 3), ((1,), 3, 3)]
    assert set(ends.ends) == {1}


def test_a_prompt_that_raises_fails_alone(toy: Toy, ends: Ends) -> None:
    def refuse(prompt: str) -> None:
        if prompt == "bad":
            raise KeyError("no such token\nand more lines")

    toy.on_encode = refuse
    paint(toy, ends, A, replace(A, prompt="bad"), replace(A, seed=3))
    error = failure(ends.ends[2])
    assert isinstance(error, BadRecipe)
    assert "KeyError" in str(error)
    assert (value(ends.ends[1]), value(ends.ends[3])) == (1, 3)


def test_a_row_that_raises_while_it_is_drawn_takes_nobody_with_it(toy: Toy, ends: Ends) -> None:
    def crash(plan: Plan, step: int) -> None:
        if step == 2 and 2 in plan.seeds:
            raise RuntimeError("shapes do not fit")

    toy.on_step = crash
    paint(toy, ends, A, replace(A, seed=2), replace(A, seed=3))
    assert toy.batches == [[1, 2, 3], [1], [2], [3]]
    assert isinstance(failure(ends.ends[2]), BadRecipe)
    assert (value(ends.ends[1]), value(ends.ends[3])) == (1, 3)


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("alloc_cpu: can't allocate memory")],
)
def test_what_does_not_fit_together_is_drawn_one_by_one(toy: Toy, ends: Ends, error: Exception) -> None:
    def small(plan: Plan, step: int) -> None:
        if len(plan.seeds) > 1 or plan.seeds == [3]:
            raise error

    toy.on_step = small
    paint(toy, ends, A, replace(A, seed=2), replace(A, seed=3))
    assert (value(ends.ends[1]), value(ends.ends[2])) == (1, 2)
    assert isinstance(failure(ends.ends[3]), OutOfMemory)


def test_numbers_that_overflow_fail_alone(toy: Toy, ends: Ends) -> None:
    paint(toy, ends, A, replace(A, prompt="nan"), replace(A, seed=3), precision="fp16")
    assert "EASEL_PRECISION to bf16 or fp32" in str(failure(ends.ends[2]))
    assert (value(ends.ends[1]), value(ends.ends[3])) == (1, 3)


def test_a_lost_device_ends_the_process(toy: Toy, ends: Ends) -> None:
    def lost(_: Plan, __: int) -> None:
        raise torch.AcceleratorError("an illegal memory access was encountered")

    toy.on_step = lost
    with pytest.raises(torch.AcceleratorError):
        paint(toy, ends, A)
    assert not ends.ends


def test_a_negative_prompt_counts_above_one(toy: Toy, ends: Ends) -> None:
    for guidance in (0.0, 1.0, 1.5):
        paint(toy, Ends(), replace(A, negative="red", guidance=guidance))
    assert toy.encoded == ["a", "a", "", "a", "red"]
