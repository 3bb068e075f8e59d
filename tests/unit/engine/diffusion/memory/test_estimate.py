"""The estimates against the published architectures, counted on the meta device, and against small models that run."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel, ZImageTransformer2DModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, Qwen3Config, Qwen3Model

from engine.diffusion.memory.apply import DTYPES, quantise_linear, tile
from engine.diffusion.memory.estimate import BYTES, Estimate, weights
from engine.families.registry import spec_of
from engine.families.sd15.spec import sd15
from engine.families.sdxl.spec import sdxl
from engine.families.z_image.spec import z_image_turbo
from tests.fakes import models
from tests.fakes.published import CLIP_L, OPEN_CLIP_G, QWEN3_4B, SD15, SDXL, VAE, Z_IMAGE, Z_IMAGE_VAE
from tests.unit.engine.diffusion.memory import counting
from tests.unit.engine.diffusion.memory.counting import nbytes

pytestmark = pytest.mark.slow

PROFILES = {"z_image": z_image_turbo(), "sdxl": sdxl(), "sd15": sd15()}
DENOISERS: dict[str, tuple[type[Any], Any]] = {
    "z_image": (ZImageTransformer2DModel, Z_IMAGE),
    "sdxl": (UNet2DConditionModel, SDXL),
    "sd15": (UNet2DConditionModel, SD15),
}


@pytest.fixture(autouse=True)
def _flat(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with counting.flat_attention(monkeypatch):
        yield


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    return {f: counting.made(kind, config, torch.bfloat16) for f, (kind, config) in DENOISERS.items()}


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("family", DENOISERS)
def test_denoisers_have_as_many_parameters_as_published(family: str, published: dict[str, Any]) -> None:
    spec, known, model = spec_of(family), spec_of(family).footprint, published[family]
    assert count(model) == known.parameters[spec.denoiser] == PROFILES[family].parameters[spec.denoiser]
    assert counting.linear_share(model) == pytest.approx(known.linear_share[spec.denoiser], abs=1e-4)
    assert counting.largest_leaf(model) == known.largest_layer
    # Z-Image 6.15 B, SDXL 2.567 B (arXiv 2307.01952 says 2.6), Stable Diffusion v1.5 860 M.
    assert round(count(model) / 1e7) == {"z_image": 615, "sdxl": 257, "sd15": 86}[family]


def test_text_encoders_have_as_many_parameters_as_published() -> None:
    qwen = counting.transformers_model(Qwen3Model, Qwen3Config, QWEN3_4B)
    small = counting.transformers_model(CLIPTextModel, CLIPTextConfig, CLIP_L)
    large = counting.transformers_model(CLIPTextModelWithProjection, CLIPTextConfig, OPEN_CLIP_G)
    for family, name, model in (
        ("z_image", "text_encoder", qwen),
        ("sdxl", "text_encoder", small),
        ("sd15", "text_encoder", small),
        ("sdxl", "text_encoder_2", large),
    ):
        known = spec_of(family).footprint
        assert count(model) == known.parameters[name] == PROFILES[family].parameters[name]
        assert counting.linear_share(model) == pytest.approx(known.linear_share[name], abs=1e-4)


@pytest.mark.parametrize(("family", "config"), [("z_image", Z_IMAGE_VAE), ("sdxl", VAE), ("sd15", VAE)])
def test_vaes_have_as_many_parameters_as_published_and_take_what_is_said(family: str, config: dict[str, Any]) -> None:
    vae = counting.made(AutoencoderKL, config, torch.bfloat16)
    assert count(vae) == spec_of(family).footprint.parameters["vae"]
    estimate = Estimate(PROFILES[family])
    for side in (512, 1024):
        said = estimate.decode(side, side, "bf16", tiled=False)
        assert said == pytest.approx(counting.decode(vae, side, side), rel=0.02)
        assert estimate.encode(side, side, "bf16") == pytest.approx(counting.encode(vae, side, side), rel=0.02)
        assert estimate.encode(side, side, "bf16") <= said, "planning for the decoder covers the encoder"


@pytest.mark.parametrize(
    ("family", "width", "height", "batch"),
    [
        ("z_image", 1024, 1024, 1),
        ("z_image", 768, 512, 2),
        ("sdxl", 1024, 768, 1),
        ("sdxl", 512, 512, 2),
        ("sd15", 768, 512, 1),
    ],
)
def test_a_step_takes_what_is_said(family: str, width: int, height: int, batch: int, published: dict[str, Any]) -> None:
    estimate = Estimate(PROFILES[family])
    alive = counting.step(published[family], width, height, batch * estimate.passes)
    said = estimate.step(width, height, batch, "bf16")
    print(f"{family} {width}x{height} batch {batch}: {alive / 1e6:.0f} MB alive, {said / 1e6:.0f} MB said")  # noqa: T201 - figures, shown by -rP
    assert said == pytest.approx(alive, rel=0.03)


def test_tiles_take_what_is_said() -> None:
    class Pipe:
        vae = counting.made(AutoencoderKL, VAE, torch.bfloat16)

    tile(Pipe, True)
    alive = counting.decode(Pipe.vae, 1536, 1024)
    said = Estimate(PROFILES["sdxl"]).decode(1536, 1024, "bf16", tiled=True)
    assert alive < Estimate(PROFILES["sdxl"]).decode(1536, 1024, "bf16", tiled=False) / 2
    assert said == pytest.approx(alive, rel=0.1)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("small")
    makers = {"z_image": models.small_z_image, "sdxl": models.small_sdxl, "sd15": models.small_sd15}
    return {
        family: DiffusionPipeline.from_pretrained(make(folder / family), dtype=torch.float32, local_files_only=True)
        for family, make in makers.items()
    }


@pytest.mark.parametrize("family", DENOISERS)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "int8"])
def test_weights_of_small_models_are_within_a_tenth(family: str, precision: str, small: dict[str, Any]) -> None:
    parts = {n: p for n, p in small[family].components.items() if isinstance(p, torch.nn.Module)}
    assert {spec_of(family).denoiser, "text_encoder", "vae"} <= parts.keys()
    for name, part in parts.items():
        if precision == "int8" and name == "vae":
            continue
        share = counting.linear_share(part)
        said = weights(count(part), precision, "fp32", share)
        kept = _as(part, precision)
        print(f"{family} {name} in {precision}: {nbytes(kept)} bytes, {said} said")  # noqa: T201 - figures, shown by -rP
        # Rows of small models are short, so their scales weigh more than those of the published ones: up to 1/32.
        assert said == pytest.approx(nbytes(kept), rel=0.1)


def _as(part: Any, precision: str) -> torch.nn.Module:
    found: torch.nn.Module = copy.deepcopy(part)
    if precision == "int8":
        quantise_linear(found)
        return found
    return found.to(DTYPES[precision])


@pytest.mark.parametrize("family", DENOISERS)
def test_small_models_never_take_more_than_is_said(family: str, small: dict[str, Any]) -> None:
    pipe = small[family]
    parts = {n: count(p) for n, p in pipe.components.items() if isinstance(p, torch.nn.Module)}
    estimate = Estimate(replace(PROFILES[family], parameters=parts))
    alive = counting.step(getattr(pipe, spec_of(family).denoiser), 256, 128, estimate.passes, "cpu")
    said = estimate.step(256, 128, 1, "fp32")
    print(f"{family}: a step has {alive} bytes alive, {said} said")  # noqa: T201 - figures, shown by -rP
    assert alive <= said <= 6 * alive


def test_the_count_is_what_pytorch_itself_allocates(small: dict[str, Any]) -> None:
    unet = small["sd15"].unet
    with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        counted = counting.step(unet, 256, 256, 2, "cpu")
    live = most = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            most = max(most, live)
    assert most == pytest.approx(counted, rel=0.25)


def test_bytes_of_a_number_are_pytorchs() -> None:
    assert {name: torch.empty(0, dtype=DTYPES[name]).element_size() for name in BYTES} == BYTES
