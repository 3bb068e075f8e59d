"""Every family against the bare diffusers pipeline of its class: same weights, same seed, same picture."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from engine.contract import Recipe
from engine.diffusion.assemble import assemble
from engine.diffusion.files import Files
from engine.diffusion.image_encoder import to_uint8
from engine.diffusion.init_image import read
from engine.families.batched import BatchedFamily
from engine.families.denoise_state import DenoiseState, InitImage
from engine.families.registry import model_class, spec_of, specs
from engine.families.sd15.model import SD15
from engine.families.sdxl.model import SDXL
from engine.folders import profile_of
from tests.fakes import models
from tests.unit.engine.diffusion.toy import to_its_end

pytestmark = pytest.mark.slow

FAMILIES: Mapping[str, type[BatchedFamily]] = {name: model_class(name) for name in models.SMALL}
ONE = 1 / 255 + 1e-4
CPU = torch.device("cpu")

Picture = NDArray[np.float32]


def test_every_family_has_a_small_model_here() -> None:
    assert set(models.SMALL) == {name for name, spec in specs().items() if spec.describe is None}


@pytest.fixture(scope="module", params=list(FAMILIES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def family(name: str, tmp_path_factory: pytest.TempPathFactory) -> BatchedFamily:
    folder = models.SMALL[name](tmp_path_factory.mktemp("models") / name)
    pipe = assemble(Files(name, folder), profile_of(folder), torch.float32)
    return FAMILIES[name](pipe, CPU)


def recipe(prompt: str = "a red cat", **more: Any) -> Recipe:
    return replace(Recipe("a", "small", prompt, "", 64, 48, 4, 3.0, 5), **more)


def begun(family: BatchedFamily, of: Recipe, start: InitImage | None = None) -> DenoiseState:
    negative = family.encode(of.negative) if family.guided(of.guidance) else None
    return family.begin(of, family.encode(of.prompt), negative, start)


def drawn(family: BatchedFamily, of: Recipe, start: InitImage | None = None) -> Picture:
    return together(family, [begun(family, of, start)])[0]


def together(family: BatchedFamily, drawings: Sequence[DenoiseState]) -> list[Picture]:
    while left := [d for d in drawings if not d.finished]:
        family.step(left)
    return [family.finish(d).clip(0, 1).numpy() for d in drawings]


def bare(pipe: Any, of: Recipe, **more: Any) -> Picture:
    found: Picture = pipe(
        of.prompt,
        negative_prompt=of.negative or None,
        num_inference_steps=of.steps,
        guidance_scale=of.guidance,
        generator=torch.Generator().manual_seed(of.seed),
        output_type="np",
        **more,
    ).images[0]
    return found


def apart(a: Picture, b: Picture) -> float:
    return float(np.abs(a - b).max())


@pytest.mark.parametrize(("guidance", "negative"), [(0.0, ""), (3.0, ""), (3.0, "the dog")])
def test_the_picture_is_the_pipelines_own(family: BatchedFamily, guidance: float, negative: str) -> None:
    one = recipe(guidance=guidance, negative=negative)
    found = drawn(family, one)
    assert found.shape == (48, 64, 3)
    assert found.std() > 0.05
    assert apart(found, bare(family.pipe, one, width=64, height=48)) <= ONE


def img2img(family: BatchedFamily, name: str) -> Any:
    """Return diffusers' img2img pipeline of the same parts."""
    parts = family.pipe.components | {"scheduler": copy.deepcopy(family.pipe.scheduler)}
    found = getattr(diffusers, spec_of(name).pipelines[1])(**parts)
    found.set_progress_bar_config(disable=True)
    return found


@pytest.mark.parametrize(("steps", "strength"), [(5, 0.6), (5, 0.5), (7, 0.3), (4, 1.0), (10, 0.05), (10, 0.95)])
def test_from_a_picture_it_is_the_img2img_pipelines_own(
    family: BatchedFamily, name: str, steps: int, strength: float
) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    one = recipe(strength=strength, steps=steps)
    found = drawn(family, one, InitImage(pixels))
    assert strength > 0.9 or apart(found, drawn(family, one)) > 0.1
    if name != "z_image" and int(steps * strength) == 0:
        return  # the pipeline can't draw no step
    # The pipeline would draw from what the VAE says; given its middle as latents, it has the same noise to begin with.
    given = family.encode_pixels(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1)
    other = img2img(family, name)
    more = {}
    if name == "z_image":
        more = {"width": 64, "height": 48}
        other.image_processor.preprocess = lambda image, *_, **__: image  # it would take latents for pixels
    whole = bare(other, one, image=given, strength=strength, **more)
    assert apart(found, whole) <= ONE


def test_strength_rounds_as_in_the_img2img_pipeline(family: BatchedFamily, name: str) -> None:
    other = img2img(family, name)
    for steps in range(1, 51):
        family.schedule(other.scheduler, recipe(steps=steps))
        for strength in (percent / 100 for percent in range(5, 101, 5)):
            timesteps, number = other.get_timesteps(steps, strength, "cpu")
            found = steps - family.skipped_steps(steps, strength)
            assert (len(timesteps), number) == (found, found), (steps, strength)


def test_the_weakest_strength_draws_one_step(family: BatchedFamily) -> None:
    start = InitImage(np.full((48, 64, 3), 90, np.uint8))
    assert begun(family, recipe(strength=0.05, steps=3), start).steps == 1


def test_in_a_batch_as_alone(family: BatchedFamily) -> None:
    recipes = [
        recipe(),
        recipe("the dog", seed=6, guidance=0.0),
        recipe("a red cat", seed=7, negative="the", steps=3),
        recipe("", seed=8),
    ]
    alone = [drawn(family, r) for r in recipes]
    shared = together(family, [begun(family, r) for r in recipes])
    assert [apart(a, b) <= ONE for a, b in zip(alone, shared, strict=True)] == [True] * 4


def test_one_that_joins_later_is_as_alone(family: BatchedFamily) -> None:
    first, second = begun(family, recipe(steps=5)), begun(family, recipe("the dog", seed=9))
    family.step([first])
    family.step([first])
    one, other = together(family, [first, second])
    assert apart(one, drawn(family, recipe(steps=5))) <= ONE
    assert apart(other, drawn(family, recipe("the dog", seed=9))) <= ONE


def test_what_a_mask_keeps_is_kept(family: BatchedFamily) -> None:
    pixels = np.full((48, 64, 3), 200, np.uint8)
    mask = np.zeros((48, 64), np.float32)
    mask[:, 32:] = 1
    found = drawn(family, recipe(strength=0.9), InitImage(pixels, mask))
    assert apart(found[:, :32], np.full((48, 32, 3), 200 / 255, np.float32)) < 1e-3
    assert np.abs(found[:, 32:] - 200 / 255).mean() > 0.05


def test_a_small_mask_is_drawn_at_full_size_and_put_back(family: BatchedFamily, tmp_path: Path) -> None:
    noise = np.random.default_rng(2).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    mask = np.zeros((48, 64), np.uint8)
    mask[36:44, 52:60] = 255
    for name, pixels in (("a", noise), ("m", mask)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    one = recipe(strength=0.9, image=str(tmp_path / "a.png"), mask=str(tmp_path / "m.png"))
    start = to_its_end(read(one))
    assert start is not None
    assert start.around is not None
    drawing = begun(family, one, start)
    found = to_uint8(torch.from_numpy(together(family, [drawing])[0]))
    assert found is not None
    inside = mask > 0
    assert np.array_equal(found[~inside], noise[~inside])
    assert np.abs(found[inside].astype(int) - noise[inside]).mean() > 5
    # It is the picture of the enlarged part, scaled down.
    part = family.decode(drawing.latents).numpy()
    assert part.shape == (48, 64, 3)
    left, top, right, bottom = start.around.box
    size = (right - left, bottom - top)
    small = np.stack(
        [np.asarray(Image.fromarray(part[..., i]).resize(size, Image.Resampling.BICUBIC)) for i in range(3)], -1
    )
    expected = small[36 - top : 44 - top, 52 - left : 60 - left].clip(0, 1) * 255
    assert np.abs(found[36:44, 52:60] - expected).max() <= 1


@pytest.mark.parametrize("prompt", ["", "猫" * 300, "\x00\n\t🦊"])
def test_any_text_is_a_prompt(family: BatchedFamily, prompt: str) -> None:
    assert np.isfinite(drawn(family, recipe(prompt, steps=1))).all()


def test_a_long_prompt_is_cut_and_that_is_said(family: BatchedFamily) -> None:
    assert not family.encode("a red cat").cut
    assert family.encode("xyz " * 600).cut


@pytest.mark.parametrize("name", ["sd15", "sdxl"], indirect=True)
def test_the_last_words_that_clip_reads(family: BatchedFamily) -> None:
    # Four times 75; "red" is one token of the small tokenizer, a letter is one too.
    assert not family.encode("red " * 300).cut
    assert family.encode("red " * 301).cut
    assert not torch.equal(family.encode("red " * 300).tensors[0], family.encode("red " * 299).tensors[0])


def test_a_preview_is_a_small_picture_of_the_picture(family: BatchedFamily) -> None:
    one = begun(family, recipe())
    one.wants_preview = True
    family.step([one])
    found = family.preview(one)
    assert found.shape == (6, 8, 3)
    assert found.dtype == np.uint8
    assert found.std() > 0


def test_schedulers_are_the_profiles(tmp_path: Path) -> None:
    folder = models.small_sd15(tmp_path / "m")
    profile = profile_of(folder)
    pictures = []
    for wanted in ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "DPMSolverMultistepScheduler"):
        pipe = assemble(Files("sd15", folder), replace(profile, scheduler=wanted), torch.float32)
        assert type(pipe.scheduler).__name__ == wanted
        pictures.append(drawn(SD15(pipe, CPU), recipe()))
        assert apart(pictures[-1], bare(pipe, recipe(), width=64, height=48)) <= ONE
    assert apart(pictures[0], pictures[1]) > 0.05
    assert apart(pictures[0], pictures[2]) > 0.01


def test_sdxls_vae_is_not_left_in_fp16(tmp_path: Path) -> None:
    folder = models.small_sdxl(tmp_path / "m")
    pipe = assemble(Files("sdxl", folder), profile_of(folder), torch.float16)
    assert (pipe.unet.dtype, pipe.vae.dtype) == (torch.float16, torch.float32)
    assert np.isfinite(drawn(SDXL(pipe, CPU), recipe(steps=2))).all()


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_model_made_to_overflow_does_so_in_fp16_alone(name: str, tmp_path: Path) -> None:
    folder = models.overflowing(tmp_path / "m", name)
    finite = {}
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        family = FAMILIES[name](assemble(Files(name, folder), profile_of(folder), dtype), CPU)
        one = begun(family, recipe(steps=1))
        family.step([one])
        finite[dtype] = bool(torch.isfinite(one.latents).all())
    assert finite == {torch.float16: False, torch.bfloat16: True, torch.float32: True}
