"""Guessed steps: which they are, what they are taken for, and what it does to pictures."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from torch import Tensor

from engine.contract import Image, Recipe
from engine.diffusion.executor import StepExecutor
from engine.diffusion.fingerprint import setup_digest, with_extras
from engine.diffusion.image_encoder import ImageEncoder
from engine.diffusion.loader import Loader
from engine.diffusion.model_manager import ModelManager
from engine.diffusion.request_state import RequestState
from engine.families.batched import BatchedFamily
from engine.families.denoise_state import DenoiseState, Embedding
from engine.families.step_cache import FIRST_SHARE, LAST, LEAST_STEPS, StepCache
from engine.families.z_image.spec import demo
from engine.spec import ModelSpec
from tests.unit.engine.diffusion.toy import TOY, Ends, Quiet, Toy

FLOW = FlowMatchEulerDiscreteScheduler


class Curve(Toy):
    """Predicts a polynomial of the time, plus the seed; counts what it computes."""

    def __init__(self, scheduler: Any, *factors: float) -> None:
        super().__init__()
        self.pipe.scheduler, self.pipe.vae_scale_factor = scheduler, 8
        self.factors = factors
        self.computed: list[list[int]] = []

    @property
    def denoiser(self) -> Any:
        return SimpleNamespace(dtype=torch.float32, config=SimpleNamespace(in_channels=1))

    def schedule(self, *given: Any) -> None:
        scheduler, recipe = given
        scheduler.set_timesteps(recipe.steps)

    def forward(self, *given: Any) -> Tensor:
        _, times, _, recipes = given
        self.computed.append([r.seed for r in recipes])
        found = [sum(f * (t / 1000) ** n for n, f in enumerate(self.factors)) for t in times]
        return torch.stack([torch.full((1, 1, 1), float(v) + r.seed) for v, r in zip(found, recipes, strict=True)])

    begin = BatchedFamily.begin
    step = BatchedFamily.step


def drawn(family: Curve, *recipes: Recipe) -> list[float]:
    """Return the latents of recipes that are drawn in company, each from its own first step on."""
    waiting, under_way, over = list(recipes), list[DenoiseState](), list[DenoiseState]()
    while waiting or under_way:
        if waiting:
            recipe = waiting.pop(0)
            under_way.append(family.begin(recipe, Embedding(()), None))
        family.step(under_way)
        over += [d for d in under_way if d.finished]
        under_way = [d for d in under_way if not d.finished]
    return [float(d.latents) for d in sorted(over, key=lambda d: d.recipe.seed)]


@given(st.integers(1, 120), st.integers(1, 3))
def test_which_steps_are_computed(steps: int, every: int) -> None:
    family = Curve(FLOW(), 1.0)
    family.step_cache = StepCache(every)
    drawing = family.begin(replace(TOY, steps=steps), Embedding(()), None)
    computed = []
    while not drawing.finished:
        computed.append(drawing.done)
        family.step([drawing])
    assert drawing.done == steps
    guessed = set(range(steps)) - set(computed)
    if every == 1 or steps < LEAST_STEPS:
        assert not guessed
        assert drawing.predictions == ()
        assert drawing.cached == 0
        return
    assert drawing.cached == every
    assert not guessed & {0, 1, 2, *range(int(steps * FIRST_SHARE)), *range(steps - LAST, steps)}
    gaps = [b - a for a, b in pairwise(computed)]
    assert max(gaps) == every
    # What is in between is as regular as it can be.
    assert len(computed) <= 3 + steps * FIRST_SHARE + LAST + steps / every


@pytest.mark.parametrize("every", [2, 3])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_what_goes_in_a_straight_line_is_guessed_right(every: int, shift: float) -> None:
    line, whole = Curve(FLOW(shift=shift), 2.0, -3.0), Curve(FLOW(shift=shift), 2.0, -3.0)
    line.step_cache = StepCache(every)
    recipe = replace(TOY, steps=30)
    assert drawn(line, recipe) == pytest.approx(drawn(whole, recipe), abs=1e-4)
    assert len(line.computed) < 25 < len(whole.computed) == 30


def test_what_bends_is_guessed_nearly_right() -> None:
    def far(every: int, steps: int) -> float:
        bent, whole = Curve(FLOW(), 0.0, 0.0, 1.0), Curve(FLOW(), 0.0, 0.0, 1.0)
        bent.step_cache = StepCache(every)
        recipe = replace(TOY, steps=steps)
        return abs(drawn(bent, recipe)[0] - drawn(whole, recipe)[0])

    assert 0 < far(2, 50) < far(2, 25) < 0.005
    assert far(2, 50) < far(3, 50) < 0.005


@pytest.mark.parametrize("scheduler", [EulerDiscreteScheduler(), FLOW(stochastic_sampling=True)])
def test_nothing_is_guessed_where_it_was_not_measured(scheduler: Any) -> None:
    family = Curve(scheduler, 1.0)
    family.step_cache = StepCache(3)
    drawn(family, replace(TOY, steps=40))
    assert len(family.computed) == 40


def test_in_company_each_is_as_it_is_alone() -> None:
    recipes = [replace(TOY, steps=steps, seed=n) for n, steps in enumerate((20, 33, 8, 50))]
    family = Curve(FLOW(), 0.5, 1.0, -1.0)
    family.step_cache = StepCache(2)
    together = drawn(family, *recipes)
    assert together == pytest.approx([drawn(family, recipe)[0] for recipe in recipes], abs=1e-5)


@pytest.mark.slow
def test_pictures_of_many_steps_are_nearly_the_same_and_say_so() -> None:
    spec = ModelSpec(demo())
    recipe = Recipe("a", spec.profile.name, "a red apple on a blue background", "", 96, 96, 30, 0.0, 1)
    recipes = [recipe, replace(recipe, guidance=3.0), replace(recipe, steps=8)]

    def pictures(every: int) -> tuple[list[Image], Ends]:
        loader = Loader("cpu", "auto", "nowhere", "", lambda _, __: pytest.fail("a folder needs no download"))
        loader.step_cache = every
        ends, encoder = Ends(), ImageEncoder()
        executor = StepExecutor(ModelManager([spec], loader, Quiet()), ends, encoder, loader.device)
        executor.add(RequestState(n, one) for n, one in enumerate(recipes))
        while len(executor):
            executor.step()
        encoder.close()
        found = [ends.ends[n] for n in range(len(recipes))]
        return [one for one in found if isinstance(one, Image)], ends

    (whole, _), (guessed, ends) = pictures(1), pictures(2)
    recipes = [replace(one, steps=LEAST_STEPS - 1) for one in recipes]
    fewer, _ = pictures(1)
    plain, cached_setup = setup_digest(spec), with_extras(setup_digest(spec), "step cache 2")
    assert [one.setup for one in whole] == [plain] * 3
    assert [one.setup for one in guessed] == [cached_setup, cached_setup, plain]
    assert whole[2].data == guessed[2].data
    for one, cached, short in zip(whole[:2], guessed[:2], fewer[:2], strict=True):
        # Nearer to the whole than a drawing of as many steps as were computed (18 of 30).
        assert 0 < _off(cached, one) < _off(short, one) / 2
    went = [step for steps in ends.steps for ticket, step, _ in steps if ticket == 0]
    assert went[-1] == 30
    assert went == sorted(set(went))
    assert len(went) < 20


def _off(one: Image, other: Image) -> float:
    """Return how far two pictures are from each other, 0 to 255, over their pixels."""
    pixels = [np.asarray(Pillow.open(io.BytesIO(image.data)), np.float32) for image in (one, other)]
    return float(np.abs(pixels[0] - pixels[1]).mean())
