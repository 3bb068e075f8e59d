"""Every sampler of every family against the plain pipeline with that scheduler: same seed, same picture."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.contract import BadRecipe, Recipe
from engine.diffusion.assemble import assemble
from engine.diffusion.files import Files
from engine.families.batched import BatchedFamily, noise_of
from engine.families.denoise_state import InitImage
from engine.families.registry import model_class, spec_of
from engine.folders import profile_of
from engine.samplers import FLOW, NOISE
from tests.fakes import models

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning"),  # NumPy, of diffusers' KDPM2 schedulers
]

ONE = 1 / 255 + 1e-4
CPU = torch.device("cpu")
# SDXL has the samplers, and the code, of SD 1.5.
EACH = [(name, sampler) for name in ("sd15", "z_image") for sampler in spec_of(name).samplers]
EACH += [("sdxl", sampler) for sampler in ("Euler a", "DPM++ 2M SDE Karras", "DPM2 a", "PLMS")]

Picture = NDArray[np.float32]


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, BatchedFamily]:
    found = {}
    for name, make in models.SMALL.items():
        folder = make(tmp_path_factory.mktemp("models") / name)
        found[name] = model_class(name)(assemble(Files(name, folder), profile_of(folder), torch.float32), CPU)
    return found


def recipe(sampler: str, **more: Any) -> Recipe:
    return replace(Recipe("a", "small", "a red cat", "", 64, 48, 4, 3.0, 5, sampler=sampler), **more)


def drawn(family: BatchedFamily, *recipes: Recipe, start: InitImage | None = None) -> list[Picture]:
    negatives = [family.encode(r.negative) if family.guided(r.guidance) else None for r in recipes]
    states = [family.begin(r, family.encode(r.prompt), n, start) for r, n in zip(recipes, negatives, strict=True)]
    while left := [s for s in states if not s.finished]:
        family.step(left)
    return [family.finish(s).clip(0, 1).numpy() for s in states]


def bare(family: BatchedFamily, of: Recipe, scheduler: Any, kind: str = "", **more: Any) -> Picture:
    pipe = getattr(diffusers, kind or type(family.pipe).__name__)(**{**family.pipe.components, "scheduler": scheduler})
    pipe.set_progress_bar_config(disable=True)
    found: Picture = pipe(
        of.prompt,
        num_inference_steps=of.steps,
        guidance_scale=of.guidance,
        generator=torch.Generator().manual_seed(of.seed),
        output_type="np",
        **more,
    ).images[0]
    return found


def for_z_image(scheduler: Any, generator: torch.Generator) -> Any:
    """Return a scheduler as ZImagePipeline calls it: with sigmas, also where it takes a number of steps alone."""

    class Made(type(scheduler)):  # type: ignore[misc]  # schedulers have no types
        def set_timesteps(self, sigmas: list[float], device: Any = None, mu: float | None = None) -> None:
            if "sigmas" in inspect.signature(super().set_timesteps).parameters:
                super().set_timesteps(sigmas=np.array(sigmas), device=device)
            else:
                super().set_timesteps(len(sigmas), device=device)

        def step(self, *args: Any, **more: Any) -> Any:
            takes = "generator" in inspect.signature(super().step).parameters
            return super().step(*args, **more, **({"generator": generator} if takes else {}))

    return Made.from_config(scheduler.config)


@pytest.mark.parametrize(("name", "sampler"), EACH)
@pytest.mark.parametrize("steps", [1, 5])
def test_the_picture_is_the_plain_pipelines(
    families: Mapping[str, BatchedFamily], name: str, sampler: str, steps: int
) -> None:
    family, of, how = families[name], recipe(sampler, steps=steps), spec_of(name).samplers[sampler]
    (found,) = drawn(family, of)
    own = family.pipe.scheduler.config
    if name != "z_image":
        scheduler = getattr(diffusers, how.scheduler).from_config(own, **how.config)
        wanted = bare(family, of, scheduler, width=64, height=48)
    elif sampler == "Heun":
        pytest.skip("ZImagePipeline does not take it; the test below does")
    else:
        # The noise of the steps comes from the generator that made the first noise.
        generator = torch.Generator().manual_seed(of.seed)
        torch.randn(1, 16, 6, 8, generator=generator)
        flow = {} if sampler == "Euler" else {"flow_shift": own.shift, **how.config}
        scheduler = family.pipe.scheduler if sampler == "Euler" else getattr(diffusers, how.scheduler)(**flow)
        wanted = bare(family, of, for_z_image(scheduler, generator), width=64, height=48)
    assert np.isfinite(found).all()
    assert np.abs(found - wanted).max() <= ONE


@torch.no_grad()
def test_heun_of_flow_matching_averages_the_flow_at_both_ends_of_a_step(
    families: Mapping[str, BatchedFamily],
) -> None:
    family, of = families["z_image"], recipe("Heun", guidance=0.0)
    prompt = family.encode(of.prompt)

    def flow(latents: torch.Tensor, sigma: float) -> torch.Tensor:
        return family.forward([latents], torch.tensor([1000 * sigma]), [prompt], [of])

    shift, latents = family.pipe.scheduler.config.shift, noise_of(of, (1, 16, 6, 8))[0]
    plain = np.linspace(1, 1 / of.steps, of.steps)
    sigmas = [*(shift * plain / (1 + (shift - 1) * plain)), 0.0]
    for sigma, following in pairwise(sigmas):
        first = flow(latents, sigma)
        there = latents + (following - sigma) * first
        both = (first + flow(there, following)) / 2 if following else first
        latents = latents + (following - sigma) * both
    assert np.abs(drawn(family, of)[0] - family.decode(latents).clip(0, 1).numpy()).max() <= ONE


@pytest.mark.parametrize("name", ["sd15", "z_image"])
def test_samplers_share_steps_and_differ(families: Mapping[str, BatchedFamily], name: str) -> None:
    family = families[name]
    # With fewer steps, orders above two fall back to lower ones.
    recipes = [recipe(sampler, steps=6) for sampler in spec_of(name).samplers]
    shared = drawn(family, *recipes)
    for one, together in zip(recipes, shared, strict=True):
        assert np.abs(drawn(family, one)[0] - together).max() <= ONE
    different = {tuple(np.round(picture * 255).astype(int).ravel()) for picture in shared}
    assert len(different) == len(recipes)


@pytest.mark.parametrize(("name", "sampler"), EACH)
def test_a_picture_to_start_from_and_a_mask_go_with_every_sampler(
    families: Mapping[str, BatchedFamily], name: str, sampler: str
) -> None:
    family, of = families[name], recipe(sampler, strength=0.6, steps=5)
    pixels = np.random.default_rng(1).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    (found,) = drawn(family, of, start=InitImage(pixels))
    assert np.isfinite(found).all()
    mask = np.zeros((48, 64), np.float32)
    mask[:, 32:] = 1
    (masked,) = drawn(family, of, start=InitImage(pixels, mask))
    assert np.abs(masked[:, :32] - pixels[:, :32] / 255).max() < 1e-3
    if name == "sd15":
        how = spec_of(name).samplers[sampler]
        scheduler = getattr(diffusers, how.scheduler).from_config(family.pipe.scheduler.config, **how.config)
        given = family.encode_pixels(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1)
        wanted = bare(family, of, scheduler, "StableDiffusionImg2ImgPipeline", image=given, strength=0.6)
        assert np.abs(found - wanted).max() <= ONE


@pytest.mark.parametrize("name", ["sd15", "z_image"])
def test_the_models_own_scheduler_stays_as_it_is(families: Mapping[str, BatchedFamily], name: str) -> None:
    family = families[name]
    before = dict(family.pipe.scheduler.config)
    (plain,) = drawn(family, recipe(""))
    drawn(family, *(recipe(sampler) for sampler in spec_of(name).samplers))
    assert dict(family.pipe.scheduler.config) == before
    assert np.array_equal(plain, drawn(family, recipe(""))[0])


def test_what_the_models_own_scheduler_is_told_does_not_change_another_sampler(tmp_path: Path) -> None:
    folder = models.small_sd15(tmp_path / "m")
    usual = profile_of(folder)
    told = replace(
        usual,
        scheduler="DPMSolverMultistepScheduler",
        scheduler_config={"use_karras_sigmas": True, "algorithm_type": "sde-dpmsolver++", "solver_order": 3},
    )
    one, other = (model_class("sd15")(assemble(Files("sd15", folder), p, torch.float32), CPU) for p in (usual, told))
    for sampler in NOISE:
        assert np.array_equal(drawn(one, recipe(sampler))[0], drawn(other, recipe(sampler))[0]), sampler


def test_an_unknown_sampler_is_refused(families: Mapping[str, BatchedFamily]) -> None:
    with pytest.raises(BadRecipe, match=r"can't be drawn with the sampler Euler a\."):
        families["z_image"].begin(recipe("Euler a"), families["z_image"].encode("a"), None)


def test_lcm_takes_more_steps_than_its_grid_has(families: Mapping[str, BatchedFamily]) -> None:
    assert np.isfinite(drawn(families["sd15"], recipe("LCM", steps=60))[0]).all()


def test_profiles_name_what_their_family_has() -> None:
    for name in models.SMALL:
        spec = spec_of(name)
        assert all(m.profile.samplers == tuple(spec.samplers) for m in spec.models)
        assert all(m.profile.sampler in spec.samplers for m in spec.models)
    assert {sampler.scheduler for sampler in {**NOISE, **FLOW}.values()} <= set(dir(diffusers))


@pytest.mark.parametrize("sampler", list(NOISE))
def test_a_zero_terminal_snr_is_kept_with_every_sampler(
    families: Mapping[str, BatchedFamily], monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    """Some schedulers can't rescale their betas, and would draw v-prediction with another noise schedule."""
    family = families["sd15"]
    told = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    own = diffusers.EulerDiscreteScheduler.from_config(family.pipe.scheduler.config, **told)
    monkeypatch.setattr(family.pipe, "scheduler", own)
    found = family.scheduler(recipe(sampler))
    assert found.config.prediction_type == "v_prediction"
    torch.testing.assert_close(found.alphas_cumprod, own.alphas_cumprod, atol=1e-5, rtol=1e-3)
    assert np.isfinite(drawn(family, recipe(sampler))[0]).all()
