"""ControlNets beside a model: from a table to a picture, and what is refused while the model goes on."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from engine import catalogue
from engine.contract import EngineError, Image, OutOfMemory, Recipe, UnknownModel
from engine.diffusion.executor import StepExecutor
from engine.diffusion.image_encoder import ImageEncoder
from engine.diffusion.loader import Loader
from engine.diffusion.model_manager import ModelManager
from engine.diffusion.request_state import RequestState
from engine.spec import ModelSpec
from tests.fakes import controlnets, models, pipelines
from tests.unit.engine.diffusion.toy import Ends, Quiet

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a small pipeline, a ControlNet for it, a control picture, and ``models.toml``."""
    root = tmp_path_factory.mktemp("controlled")
    models.small_sd15(root / "model")
    controlnets.controlnet(pipelines.load(root / "model"), root / "depth")
    pixels = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((8, 8))).astype(np.uint8) * 255
    Pillow.fromarray(pixels).convert("RGB").save(root / "squares.png")
    (root / "models.toml").write_text('[small]\nsource = "model"\n[control.one]\nkind = "depth"\nsource = "depth"\n')
    return root


def spec(folder: Path) -> ModelSpec:
    found = catalogue.read_catalogue("small", "", str(folder / "models.toml"))
    assert found.problems == ()
    return found.specs[0]


def recipe(folder: Path, **more: object) -> Recipe:
    usual = Recipe("a", "small", "a red cat", "", 64, 64, 3, 3.0, 5, image=str(folder / "squares.png"), control="depth")
    return replace(usual, **more)  # type: ignore[arg-type]


def loader() -> Loader:
    return Loader("cpu", "auto", "nowhere", "", lambda _, __: None)


def paint(models: ModelManager, *recipes: Recipe) -> Sequence[Image | EngineError]:
    ends, encoder = Ends(), ImageEncoder()
    executor = StepExecutor(models, ends, encoder, torch.device("cpu"))
    executor.add(RequestState(n, each) for n, each in enumerate(recipes))
    while len(executor):
        executor.step()
    encoder.close()
    return [ends.ends[n] for n in range(len(recipes))]


def pixels(end: Image | EngineError) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    assert isinstance(end, Image), end
    return np.asarray(Pillow.open(io.BytesIO(end.data))).astype(float)


def test_from_a_table_to_pictures_with_and_without_control(folder: Path) -> None:
    of = spec(folder)
    assert of.profile.controls == ("depth",)
    here = ModelManager([of], loader(), Quiet())
    plain = recipe(folder, control="", image="")
    free, led, weak, none = paint(
        here, plain, recipe(folder), recipe(folder, control_weight=0.02), recipe(folder, control_weight=0.0)
    )
    assert np.abs(pixels(paint(here, recipe(folder))[0]) - pixels(led)).max() <= 1, "in a batch as alone"
    assert np.abs(pixels(free) - pixels(none)).max() <= 1
    by = [np.abs(pixels(free) - pixels(other)).mean() for other in (weak, led)]
    assert 0.5 < by[0] < by[1]
    assert isinstance(free, Image)
    assert isinstance(led, Image)
    assert free.setup != led.setup, "the ControlNet's name counts for what is drawn again"


def test_a_kind_that_is_not_there_ends_its_own_picture(folder: Path) -> None:
    here = ModelManager([spec(folder)], loader(), Quiet())
    led, other, free = paint(here, recipe(folder), recipe(folder, control="pose"), recipe(folder, control="", image=""))
    assert str(other) == "small has no ControlNet for 'pose'; add one to models.toml."
    assert isinstance(led, Image)
    assert isinstance(free, Image)


def test_one_that_does_not_fit_is_refused_and_the_model_goes_on(folder: Path) -> None:
    made = loader()
    here = ModelManager([spec(folder)], made, Quiet())
    paint(here, recipe(folder, control="", image=""))
    memory = here._resident["small"].model.memory
    assert memory is not None
    memory.plan = replace(memory.plan, budget=memory.plan.device_bytes + 1000)
    led, free = paint(here, recipe(folder), recipe(folder, control="", image=""))
    assert isinstance(led, OutOfMemory)
    assert (
        str(led) == "The ControlNet one takes 1 MiB, and there is no room for it beside small on cpu: draw without it."
    )
    assert isinstance(free, Image)


@pytest.mark.parametrize("damage", ["cut", "gone", "other", "lacks"])
def test_files_that_change_after_the_start_are_refused(folder: Path, damage: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file  # noqa: PLC0415

    of = spec(folder)
    weights = tmp_path / "control" / controlnets.PUBLISHED
    controlnets.controlnet(pipelines.load(folder / "model"), weights.parent)
    of = replace(of, controls=(replace(of.controls[0], source=str(weights.parent)),))
    match damage:
        case "cut":
            weights.write_bytes(weights.read_bytes()[:-100])
        case "gone":
            weights.unlink()
        case "lacks":
            tensors = load_file(weights)
            del tensors["controlnet_mid_block.weight"]
            save_file(tensors, weights, {"format": "pt"})
        case "other":
            xl = pipelines.load(models.small_sdxl(tmp_path / "xl"))
            controlnets.controlnet(xl, weights.parent)
    here = ModelManager([of], loader(), Quiet())
    led, free = paint(here, recipe(folder), recipe(folder, control="", image=""))
    assert isinstance(led, UnknownModel)
    assert "\n" not in str(led)
    assert str(weights.parent) in str(led)
    assert isinstance(free, Image)
