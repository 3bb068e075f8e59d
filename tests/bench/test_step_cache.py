"""What guessed steps save, and what they cost beside drawing in fewer steps; `--benchmark-json FILE` has the errors too."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from engine.contract import Recipe
from engine.diffusion.loader import Loader
from engine.families.batched import BatchedFamily
from engine.families.step_cache import StepCache
from engine.families.z_image.spec import demo
from engine.spec import ModelSpec
from tests.bench.test_speed import measured

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

PROMPTS = (
    "a red apple on a blue background",
    "a yellow rocket on a green background",
    "黄色背景上的火箭",
    "a purple cat on a white background",
)


@pytest.fixture(scope="module")
def family() -> Iterator[BatchedFamily]:
    found = Loader("cpu", "fp32", "nowhere", "", lambda _, __: None).load(ModelSpec(demo()), "").family
    assert isinstance(found, BatchedFamily)
    yield found
    found.close()


Whole = Callable[[int, float], NDArray[np.float32]]


@pytest.fixture(scope="module")
def whole(family: BatchedFamily) -> Whole:
    """Pictures of so many steps and such guidance with every step computed; drawn once."""
    return functools.cache(lambda steps, guidance: drawn(family, steps, guidance, 1)[0])


def drawn(family: BatchedFamily, steps: int, guidance: float, every: int) -> tuple[NDArray[np.float32], int]:
    """Return four pictures, 0 to 255, and how many steps of one went through the denoiser."""
    family.step_cache, found, computed = StepCache(every), [], 0
    for seed, prompt in enumerate(PROMPTS):
        recipe = Recipe("a", "demo", prompt, "", 192, 192, steps, guidance, seed)
        away = family.encode("") if family.guided(guidance) else None
        drawing = family.begin(recipe, family.encode(prompt), away)
        computed = 0
        while not drawing.finished:
            family.step([drawing])
            computed += 1
        found.append(family.finish(drawing).clip(0, 1).numpy() * 255)
    return np.stack(found), computed


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize(("steps", "guidance"), [(28, 0.0), (50, 0.0), (28, 3.0), (50, 3.0)])
def test_guessed_steps(
    benchmark: BenchmarkFixture, family: BatchedFamily, whole: Whole, steps: int, guidance: float, every: int
) -> None:
    """Four pictures; how far they are from those without guesses, and how far as many plain steps would be."""
    found, computed = measured(benchmark)(lambda: drawn(family, steps, guidance, every), rounds=1)
    fewer = whole(computed, guidance)
    off, plain = np.abs(found - whole(steps, guidance)), np.abs(fewer - whole(steps, guidance))
    benchmark.extra_info.update(
        computed=computed,
        mean=round(float(off.mean()), 2),
        p99=round(float(np.percentile(off, 99)), 1),
        largest=round(float(off.max())),
        fewer_mean=round(float(plain.mean()), 2),
    )
    assert every == 1 or off.mean() < plain.mean()
