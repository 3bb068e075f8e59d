from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from engine.families.batched import denoised_latents, noise_of, slerp
from engine.families.denoise_state import DenoiseState, Embedding
from engine.families.unet_spec import SCHEDULERS
from tests.unit.engine.diffusion.toy import TOY

SHAPE = (1, 4, 8, 8)


def test_a_seed_is_a_noise() -> None:
    assert torch.equal(noise_of(TOY, SHAPE)[0], noise_of(replace(TOY, prompt="b"), SHAPE)[0])
    assert not torch.equal(noise_of(TOY, SHAPE)[0], noise_of(replace(TOY, seed=2), SHAPE)[0])


def test_a_variation_lies_between_two_seeds_and_is_as_long() -> None:
    one, other = noise_of(TOY, SHAPE)[0], noise_of(replace(TOY, seed=2), SHAPE)[0]
    half = noise_of(replace(TOY, variation=0.5, variation_seed=2), SHAPE)[0]
    whole = noise_of(replace(TOY, variation=1.0, variation_seed=2), SHAPE)[0]
    torch.testing.assert_close(whole, other)
    assert float(half.norm()) == pytest.approx(float(one.norm() + other.norm()) / 2, rel=0.05)
    small = noise_of(replace(TOY, variation=0.1, variation_seed=2), SHAPE)[0]
    assert (small - one).norm() < (half - one).norm() < (whole - one).norm()


def test_a_quarter_of_a_right_angle() -> None:
    found = slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 0.25)
    torch.testing.assert_close(found, torch.tensor([math.cos(math.pi / 8), math.sin(math.pi / 8)]))


def test_no_way_to_turn_is_a_straight_line() -> None:
    a = torch.tensor([1.0, 2.0])
    torch.testing.assert_close(slerp(a, 2 * a, 0.5), 1.5 * a)


def noised(kind: str, prediction_type: str, *, zero: bool, done: int, latents: Tensor) -> tuple[DenoiseState, Tensor]:
    """Return a picture whose latents are these with noise, before step ``done``, and the right prediction."""
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    scheduler: Any = getattr(diffusers, kind)(
        **betas, prediction_type=prediction_type, rescale_betas_zero_snr=zero, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(8)
    noise, generator = noise_of(TOY, SHAPE)
    embedding = Embedding((torch.zeros(1, 1),))
    time = scheduler.timesteps[done : done + 1]
    state = DenoiseState(
        TOY,
        embedding,
        None,
        scheduler,
        scheduler.timesteps,
        generator,
        scheduler.add_noise(latents, noise, time),
        noise,
        done=done,
    )
    if hasattr(scheduler, "sigmas"):
        sigma = float(scheduler.sigmas[done])
        signal, share = 1 / math.sqrt(sigma**2 + 1), sigma / math.sqrt(sigma**2 + 1)
    else:
        signal = float(scheduler.alphas_cumprod[int(time)]) ** 0.5
        share = math.sqrt(1 - signal**2)
    return state, {"epsilon": noise, "v_prediction": signal * noise - share * latents, "sample": latents}[
        prediction_type
    ]


@pytest.mark.parametrize("kind", SCHEDULERS)
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("done", [1, 5])
def test_a_preview_shows_what_the_prediction_leads_to(kind: str, prediction_type: str, done: int) -> None:
    latents = torch.randn(SHAPE, generator=torch.Generator().manual_seed(9))
    for zero in (False, True):
        state, prediction = noised(kind, prediction_type, zero=zero, done=done, latents=latents)
        found = denoised_latents(state, prediction)
        assert found is not None
        torch.testing.assert_close(found, latents, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", ["EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "DDIMScheduler"])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_preview_shows_what_the_scheduler_takes_the_picture_for(kind: str, prediction_type: str) -> None:
    state, _ = noised(kind, prediction_type, zero=prediction_type != "epsilon", done=2, latents=torch.ones(SHAPE))
    prediction = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    state.scheduler.register_to_config(clip_sample=False)  # as Stable Diffusion's config has it
    state.scheduler.scale_model_input(state.latents, state.timesteps[2])
    own = state.scheduler.step(prediction, state.timesteps[2], state.latents).pred_original_sample
    torch.testing.assert_close(denoised_latents(state, prediction), own, atol=1e-3, rtol=1e-3)
