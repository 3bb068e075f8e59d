"""Number formats on small models: the error of each against fp32, and fp16 with activations that are too large for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.contract import Recipe
from engine.diffusion.assemble import assemble
from engine.diffusion.files import Files
from engine.families.batched import BatchedFamily
from engine.families.registry import model_class
from engine.families.z_image.model import MOST
from engine.folders import profile_of
from tests.fakes import models

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


def loaded(name: str, folder: Path, dtype: torch.dtype, *, larger: float = 1.0) -> BatchedFamily:
    """Load a small model in a format; feed-forward layers of Z-Image give ``larger`` times as much before their norm."""
    pipe = assemble(Files(name, folder), profile_of(folder), torch.float32)
    if larger != 1.0:
        for block in pipe.transformer.layers:
            for layer in (block.feed_forward.w2, block.feed_forward.w3):
                layer.weight.data *= larger**0.5
    for part in ("unet", "transformer", "text_encoder", "text_encoder_2"):
        if name != "z_image" or part == "transformer":  # whose text encoder does not compute in fp16
            module: Any = getattr(pipe, part, None)
            if module is not None:
                module.to(dtype)
    found: BatchedFamily = model_class(name)(pipe, CPU)
    assert found.dtype == dtype
    return found


def latents(family: BatchedFamily) -> Tensor:
    recipe = Recipe("a", "small", "a red cat", "", 64, 64, 6, 4.0, 3)
    state = family.begin(recipe, family.encode(recipe.prompt), family.encode(""))
    while not state.finished:
        family.step([state])
    return state.latents


def error(family: BatchedFamily, found: Tensor, exact: Tensor) -> float:
    """Return the mean error of a picture, of 255. Both are decoded in fp32."""
    one, other = (np.asarray(family.decode(each)).clip(0, 1) for each in (found, exact))
    return float(np.abs(one - other).mean()) * 255


@pytest.fixture(params=["sd15", "sdxl"])
def unet(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    name = str(request.param)
    return name, models.SMALL[name](tmp_path / name)


def test_a_unet_is_closer_to_fp32_in_fp16_than_in_bf16(
    unet: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    name, folder = unet
    family = loaded(name, folder, torch.float32)
    exact = latents(family)
    errors = [error(family, latents(loaded(name, folder, t)), exact) for t in (torch.float16, torch.bfloat16)]
    with capsys.disabled():
        print(f"\n{name}: mean error of 255 in fp16 {errors[0]:.3f}, in bf16 {errors[1]:.3f}")  # noqa: T201
    assert 0 < errors[0] < errors[1] / 4


def test_a_picture_in_fp16_is_the_pipelines_own_in_fp16(
    unet: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    name, folder = unet
    family = loaded(name, folder, torch.float16)
    family.pipe.set_progress_bar_config(disable=True)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    bare = family.pipe(
        "a red cat",
        width=64,
        height=64,
        num_inference_steps=6,
        guidance_scale=4.0,
        latents=noise.half(),
        output_type="latent",
    ).images
    one, other = (np.asarray(family.decode(each.float())).clip(0, 1) for each in (latents(family), bare))
    most = float(np.abs(one - other).max()) * 255
    with capsys.disabled():
        print(f"\n{name}: off by {most:.2f} of 255 at most from the pipeline, both in fp16")  # noqa: T201
    assert most <= 1


def test_clamped_sums_keep_z_image_finite_in_fp16(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = models.SMALL["z_image"](tmp_path / "z")
    largest = []

    def note(_: Any, __: Any, output: Tensor) -> None:
        largest.append(float(output.abs().max()))

    plain = loaded("z_image", folder, torch.float32, larger=1e8)
    plain.denoiser.layers[0].feed_forward.register_forward_hook(note)
    exact = latents(plain)
    assert max(largest) > 2 * MOST, "fp16 can't hold what the layer gives"

    found = latents(loaded("z_image", folder, torch.float16, larger=1e8))
    assert bool(found.isfinite().all())
    bare = loaded("z_image", folder, torch.float16, larger=1e8)
    for module in bare.denoiser.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    assert not bool(latents(bare).isfinite().all()), "without clamps it overflows"
    with capsys.disabled():
        print(f"\nz_image: mean error of 255 in clamped fp16 {error(plain, found, exact):.3f}")  # noqa: T201


def test_clamps_change_nothing_that_fits(tmp_path: Path) -> None:
    folder = models.SMALL["z_image"](tmp_path / "z")
    found = loaded("z_image", folder, torch.float16)
    bare = loaded("z_image", folder, torch.float16)
    for module in bare.denoiser.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    assert torch.equal(latents(found), latents(bare))
