"""A family is one folder: PixArt-Sigma, which Easel does not have, is drawn with from ``tests/fakes/families`` alone."""

from __future__ import annotations

import asyncio
import contextlib
import io
import string
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, PixArtSigmaPipeline, PixArtTransformer2DModel
from numpy.typing import NDArray
from PIL import Image as Pillow
from safetensors.torch import save_file
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from engine.contract import PROMPT_CUT, EngineConfig, Image, Recipe, UnknownModel
from engine.diffusion import files
from engine.diffusion.loader import Loader
from engine.families.denoise_state import DenoiseState, InitImage
from engine.families.registry import any_call
from engine.host.process_engine import ProcessEngine
from engine.spec import Lora, ModelSpec
from tests.fakes import families, models, pipelines

pytestmark = pytest.mark.slow

RED = Recipe("a", "pixart", "a red cat", "", 64, 64, 4, 4.5, 5)


@pytest.fixture(autouse=True)
def _added() -> Iterator[None]:
    with families.added():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a small PixArtSigmaPipeline of random weights; its native side is 64."""
    torch.manual_seed(0)
    pieces = ["<pad>", "</s>", "<unk>", "▁", *string.ascii_lowercase, "▁red", "▁cat"]
    tokenizer = T5Tokenizer(vocab=[(piece, -float(i)) for i, piece in enumerate(pieces)], extra_ids=0)
    encoder = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=16,
        d_ff=64,
        num_layers=2,
        num_heads=2,
        feed_forward_proj="gated-gelu",
    )
    transformer = PixArtTransformer2DModel(
        sample_size=8,
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=16,
        cross_attention_dim=32,
        caption_channels=32,
        use_additional_conditions=False,
    )
    pipe = PixArtSigmaPipeline(
        tokenizer=tokenizer,
        text_encoder=T5EncoderModel(encoder),
        vae=pipelines.vae(scaling_factor=0.13025),
        transformer=transformer,
        scheduler=DPMSolverMultistepScheduler(),
    )
    return pipelines.save(pipe, tmp_path_factory.mktemp("models") / "pixart")


def loader() -> Loader:
    return Loader("cpu", "auto", "nowhere", "", lambda _, __: pytest.fail("a folder needs no download"))


@pytest.fixture
def family(folder: Path) -> Any:
    return loader().load(ModelSpec(models.profile_for(str(folder))), "").family


def begun(family: Any, recipe: Recipe, start: InitImage | None = None) -> DenoiseState:
    negative = family.encode(recipe.negative) if family.guided(recipe.guidance) else None
    found: DenoiseState = family.begin(recipe, family.encode(recipe.prompt), negative, start)
    return found


def together(family: Any, states: list[DenoiseState]) -> list[NDArray[np.float32]]:
    while left := [state for state in states if not state.finished]:
        family.step(left)
    return [family.finish(state).clip(0, 1).numpy() for state in states]


def bare(pipe: Any, recipe: Recipe) -> NDArray[np.float32]:
    found: NDArray[np.float32] = pipe(
        recipe.prompt,
        negative_prompt=recipe.negative,
        num_inference_steps=recipe.steps,
        guidance_scale=recipe.guidance,
        width=recipe.width,
        height=recipe.height,
        use_resolution_binning=False,
        generator=torch.Generator().manual_seed(recipe.seed),
        output_type="np",
    ).images[0]
    return found


def test_its_folder_is_read(folder: Path) -> None:
    profile = models.profile_for(str(folder))
    assert (profile.family, profile.side.default, profile.prompt_tokens) == ("pixart_sigma", 64, 300)
    assert models.profile_for("pixart-sigma").source == "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS"


def test_without_its_folder_it_is_one_of_any_class(folder: Path) -> None:
    with families.removed():
        assert any_call(models.profile_for(str(folder)).family)
    assert not any_call(models.profile_for(str(folder)).family)


@pytest.mark.parametrize(
    "recipe", [RED, replace(RED, guidance=1.0), replace(RED, negative="dog", width=96, height=64, seed=6)]
)
def test_the_picture_is_the_pipelines_own(family: Any, recipe: Recipe) -> None:
    (found,) = together(family, [begun(family, recipe)])
    assert found.std() > 0.05
    assert np.abs(found - bare(family.pipe, recipe)).max() <= 1 / 255 + 1e-4


def test_in_a_batch_as_alone(family: Any) -> None:
    recipes = [RED, replace(RED, prompt="the long story of a cat", seed=6), replace(RED, guidance=0.0, steps=2)]
    alone = [together(family, [begun(family, recipe)])[0] for recipe in recipes]
    for one, other in zip(alone, together(family, [begun(family, recipe) for recipe in recipes]), strict=True):
        assert np.abs(one - other).max() <= 1 / 255 + 1e-4


async def test_the_engines_process_draws_it(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text(f'[pixart]\nsource = "{folder}"\nlike = "pixart-sigma"\nsteps = 4\n', encoding="utf-8")
    config = EngineConfig("pixart", "nowhere", models_file=str(file))
    engine = ProcessEngine(config, command=(sys.executable, "-m", "tests.fakes.family_child"))
    await engine.start()
    Pillow.new("RGB", (64, 64), (200, 40, 40)).save(tmp_path / "start.png")
    recipes = (
        RED,
        replace(RED, id="b", prompt="cat " * 400, seed=6),
        replace(RED, id="c", image=str(tmp_path / "start.png"), strength=0.5),
    )
    try:
        async with asyncio.timeout(100), contextlib.aclosing(engine.paint(recipes)) as events:
            found = {event.recipe_id: event for event in [e async for e in events] if isinstance(event, Image)}
    finally:
        await engine.aclose()
    assert found.keys() == {"a", "b", "c"}
    assert (found["a"].notes, found["b"].notes) == ((), (PROMPT_CUT,))
    pixels = np.asarray(Pillow.open(io.BytesIO(found["a"].data)), np.float32)
    pipe = pipelines.load(folder)
    assert np.abs(pixels - bare(pipe, RED) * 255).max() <= 1.5


def test_its_denoiser_alone_is_recognised(folder: Path, tmp_path: Path) -> None:
    alone = models.transformer_alone(folder, tmp_path / "alone.safetensors")
    with pytest.raises(UnknownModel, match="diffusers reads no PixArtTransformer2DModel from a single file"):
        files.check(files.Files("pixart_sigma", folder, denoiser=alone))
    with pytest.raises(UnknownModel, match="made for PixArt, and the model in"):
        files.check(files.Files("sd15", models.small_sd15(tmp_path / "sd15"), denoiser=alone))


def test_it_takes_no_loras(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    save_file({"transformer.transformer_blocks.0.attn1.to_q.lora_A.weight": torch.zeros(4, 32)}, path)
    with pytest.raises(UnknownModel, match="LoRAs for PixArt-Sigma are not supported"):
        files.check(files.Files("pixart_sigma", folder, loras=(Lora(str(path)),)))
