"""From models.toml to a picture: every kind of model that an operator can have goes the same way."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import Flux2Transformer2DModel
from numpy.typing import NDArray
from PIL import Image as Pillow
from safetensors.torch import save_file

from engine import catalogue
from engine.contract import PROMPT_CUT, SAFER, EngineError, Image, Recipe, UnknownModel
from engine.diffusion.executor import StepExecutor
from engine.diffusion.image_encoder import ImageEncoder
from engine.diffusion.loader import Loader
from engine.diffusion.model_manager import ModelManager
from engine.diffusion.request_state import RequestState
from tests.fakes import models, single_files
from tests.fakes.small_pipelines import SMALL_PIPELINES
from tests.unit.engine.diffusion.test_assemble import quantised
from tests.unit.engine.diffusion.toy import Ends, Quiet

pytestmark = pytest.mark.slow

MODELS = """
[sd-folder]
source = "sd15"

[sd-file]
source = "sd15.safetensors"
base = "sd15"

[sd-lora]
source = "sd15"
loras = [{ source = "sd15-lora.safetensors", weight = 0.8 }]

[xl-folder]
source = "sdxl"

[xl-unet]
transformer = "sdxl-alone.safetensors"
base = "sdxl"
like = "sdxl-lightning"

[xl-lora]
source = "sdxl.safetensors"
base = "sdxl"
loras = ["sdxl-lora.safetensors"]

[z-folder]
source = "z_image"

[z-transformer]
transformer = "z_image-first.safetensors"
base = "z_image"
loras = ["z_image-lora.safetensors"]

[xl-overflows]
source = "overflowing"

[klein-folder]
source = "klein"

[klein-file]
source = "klein-first.safetensors"
base = "klein-base"

[klein-gguf]
transformer = "klein.gguf"
base = "klein-base"

[broken]
source = "sd15"
loras = ["sdxl-lora.safetensors"]
"""


Draw = Callable[..., list[Image | EngineError]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = models.zoo(tmp_path_factory.mktemp("models"))
    models.overflowing(root / "overflowing", "sdxl")
    klein(root)
    (root / "models.toml").write_text(MODELS)
    return root


def klein(root: Path) -> None:
    """Write a pipeline of a class without a family, also in two parts: a base, and the transformer in two files."""
    base = root / "klein-base"
    shutil.copytree(SMALL_PIPELINES["Flux2KleinPipeline"].build(root / "klein", 0), base)
    alone = (base / "transformer" / "diffusion_pytorch_model.safetensors").rename(root / "klein-alone.safetensors")
    quantised(alone, root / "klein.gguf")
    first = single_files.flux2(Flux2Transformer2DModel.from_pretrained(root / "klein" / "transformer"))
    tensors = {f"model.diffusion_model.{name}": tensor.contiguous() for name, tensor in first.items()}
    save_file(tensors | {"vae.conv_in.weight": torch.ones(3, 3)}, root / "klein-first.safetensors")


@pytest.fixture(scope="module")
def draw(root: Path) -> Draw:
    """Draw recipes of any models of the file; one model is on the device at a time."""
    specs = catalogue.specs("sd-folder", str(root), str(root / "models.toml"))

    def drawn(*recipes: Recipe, precision: str = "auto") -> list[Image | EngineError]:
        loader = Loader("cpu", precision, str(root), "", lambda _, __: pytest.fail("nothing needs a download"))
        ends, encoder = Ends(), ImageEncoder()
        executor = StepExecutor(ModelManager(specs, loader, Quiet()), ends, encoder, loader.device)
        executor.add([RequestState(ticket, recipe) for ticket, recipe in enumerate(recipes)])
        while len(executor):
            executor.step()
        encoder.close()
        return [ends.ends[ticket] for ticket in range(len(recipes))]

    return drawn


def recipe(model: str, **more: Any) -> Recipe:
    return replace(Recipe("a", model, "a red cat", "", 64, 64, 3, 0.0, 1), **more)


def pixels(image: Image | EngineError) -> NDArray[np.float32]:
    assert isinstance(image, Image), image
    return np.asarray(Pillow.open(io.BytesIO(image.data)), np.float32)


def test_every_model_draws(draw: Draw) -> None:
    names = (
        "sd-folder",
        "sd-file",
        "sd-lora",
        "xl-folder",
        "xl-unet",
        "xl-lora",
        "z-folder",
        "z-transformer",
    )
    found = dict(zip(names, map(pixels, draw(*map(recipe, names))), strict=True))
    assert np.abs(found["sd-folder"] - found["sd-file"]).max() <= 1
    for one, other in (("sd-folder", "sd-lora"), ("xl-folder", "xl-lora"), ("z-folder", "z-transformer")):
        assert np.abs(found[one] - found[other]).max() > 20, (one, other)
    # The same weights, at Lightning's timesteps.
    assert np.abs(found["xl-folder"] - found["xl-unet"]).max() > 5


def test_files_of_a_class_without_a_family(draw: Draw, root: Path) -> None:
    names = ("klein-folder", "klein-file", "klein-gguf")
    folder, file, eight_bits = (pixels(image) for image in draw(*map(recipe, names)))
    assert np.abs(folder - file).max() <= 1
    assert 0 < np.abs(folder - eight_bits).mean() < 6
    specs = {spec.profile.name: spec for spec in catalogue.specs("klein-file", "", str(root / "models.toml"))}
    counts = [specs[name].profile.parameters["transformer"] for name in names]
    assert len(set(counts)) == 1
    assert specs["klein-file"].single_file == ""


@pytest.mark.parametrize("name", ["sd-file", "xl-lora", "z-transformer"])
def test_from_a_picture_with_guidance_in_company(draw: Draw, tmp_path: Path, name: str) -> None:
    Pillow.new("RGB", (80, 64), (200, 40, 40)).save(tmp_path / "start.png")
    start = recipe(name, image=str(tmp_path / "start.png"), strength=0.5, guidance=3.0, negative="the dog")
    (alone,) = draw(start)
    shared, other, long = draw(start, recipe(name, seed=2, guidance=3.0), recipe(name, prompt="xyz " * 600))
    assert np.abs(pixels(alone) - pixels(shared)).max() <= 1
    assert np.abs(pixels(shared) - pixels(other)).max() > 20
    assert isinstance(other, Image)
    assert isinstance(long, Image)
    assert (other.notes, long.notes) == ((), (PROMPT_CUT,))


def test_one_whose_files_do_not_go_together_fails_and_the_others_are_drawn(draw: Draw) -> None:
    before, broken, after = draw(recipe("sd-folder"), recipe("broken"), recipe("sd-folder", seed=2))
    assert isinstance(broken, UnknownModel)
    assert "sdxl-lora.safetensors is made for" in str(broken)
    assert np.abs(pixels(before) - pixels(after)).max() > 5


def test_what_overflows_in_fp16_is_drawn_again_and_right(draw: Draw) -> None:
    (safe,) = draw(recipe("xl-overflows"))
    found, fine = draw(recipe("xl-overflows"), recipe("xl-folder"), precision="fp16")
    assert isinstance(found, Image)
    assert isinstance(fine, Image)
    assert found.precision != "fp16"
    assert found.notes == (SAFER,)
    assert (fine.precision, fine.notes) == ("fp16", ())
    assert np.abs(pixels(found) - pixels(safe)).mean() < 4
