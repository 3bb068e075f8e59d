"""Pictures that follow control pictures, against diffusers' ControlNet pipelines: same weights, same seed, same picture."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, ZImageControlNetModel
from numpy.typing import NDArray
from PIL import Image as Pillow

from engine.contract import BadRecipe, Recipe, UnknownModel
from engine.diffusion import controlnets
from engine.diffusion.assemble import assemble
from engine.diffusion.controlnets import ControlFiles
from engine.diffusion.files import Files
from engine.families.batched import BatchedFamily
from engine.families.denoise_state import DenoiseState
from engine.families.registry import model_class, spec_of
from engine.folders import profile_of
from engine.spec import ControlSpec
from tests.fakes import controlnets as fakes
from tests.fakes import models

pytestmark = pytest.mark.slow

PIPELINES = {
    "sd15": "StableDiffusionControlNetPipeline",
    "sdxl": "StableDiffusionXLControlNetPipeline",
    "z_image": "ZImageControlNetPipeline",
}
ONE = 1 / 255 + 1e-4
CPU = torch.device("cpu")
SQUARES = np.kron(np.indices((6, 8)).sum(0) % 2, np.ones((8, 8))).astype(np.uint8)[..., None].repeat(3, 2) * 255

Picture = NDArray[np.float32]


@pytest.fixture(scope="module", params=list(models.SMALL))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.SMALL[name](tmp_path_factory.mktemp("models") / name)


def opened(name: str, folder: Path) -> BatchedFamily:
    family: BatchedFamily = model_class(name)(assemble(Files(name, folder), profile_of(folder), torch.float32), CPU)
    return family


@pytest.fixture(scope="module")
def family(name: str, folder: Path) -> BatchedFamily:
    found = opened(name, folder)
    add(found, fakes.controlnet(found.pipe, folder.parent / "control"))
    return found


def add(family: BatchedFamily, path: Path, kinds: tuple[str, ...] = ("depth",)) -> None:
    files = ControlFiles(ControlSpec("one", "One", kinds, family.spec.name, str(path)), path)
    controlnets.check(files)
    controlnets.load(files, family, torch.float32)


def recipe(prompt: str = "a red cat", **more: Any) -> Recipe:
    return replace(Recipe("a", "small", prompt, "", 64, 48, 4, 3.0, 5, control="depth"), **more)


def begun(family: BatchedFamily, of: Recipe, picture: NDArray[np.uint8] = SQUARES) -> DenoiseState:
    negative = family.encode(of.negative) if family.guided(of.guidance) else None
    state = family.begin(of, family.encode(of.prompt), negative)
    if of.control:
        assert family.add_control(state, picture)
    return state


def together(family: BatchedFamily, drawings: Sequence[DenoiseState]) -> list[Picture]:
    while left := [d for d in drawings if not d.finished]:
        family.step(left)
    return [family.finish(d).clip(0, 1).numpy() for d in drawings]


def drawn(family: BatchedFamily, of: Recipe, picture: NDArray[np.uint8] = SQUARES) -> Picture:
    return together(family, [begun(family, of, picture)])[0]


def bare(family: BatchedFamily, of: Recipe, picture: NDArray[np.uint8] = SQUARES) -> Picture:
    """Return the picture of diffusers' ControlNet pipeline with the same parts."""
    parts = family.pipe.components | {"scheduler": copy.deepcopy(family.pipe.scheduler)}
    pipe = getattr(diffusers, PIPELINES[family.spec.name])(**parts, controlnet=family.controls["depth"].module)
    pipe.set_progress_bar_config(disable=True)
    key = "control_image" if family.spec.name == "z_image" else "image"
    found: Picture = pipe(
        of.prompt,
        negative_prompt=of.negative or None,
        num_inference_steps=of.steps,
        guidance_scale=of.guidance,
        controlnet_conditioning_scale=of.control_weight,
        generator=torch.Generator().manual_seed(of.seed),
        width=of.width,
        height=of.height,
        output_type="np",
        **{key: Pillow.fromarray(picture)},
    ).images[0]
    return found


def apart(a: Picture, b: Picture) -> float:
    return float(np.abs(a - b).max())


@pytest.mark.parametrize(("guidance", "weight"), [(0.0, 1.0), (3.0, 1.0), (3.0, 0.4)])
def test_the_picture_is_the_controlnet_pipelines_own(family: BatchedFamily, guidance: float, weight: float) -> None:
    one = recipe(guidance=guidance, control_weight=weight)
    found = drawn(family, one)
    assert apart(found, bare(family, one)) <= ONE
    assert apart(found, drawn(family, replace(one, control=""))) > 0.05
    assert apart(found, drawn(family, one, 255 - SQUARES)) > 0.02


def test_a_weight_of_nothing_is_no_control(family: BatchedFamily) -> None:
    assert apart(drawn(family, recipe(control_weight=0.0)), drawn(family, recipe(control=""))) < 1e-5


def test_in_a_batch_with_other_pictures_and_weights_as_alone(family: BatchedFamily) -> None:
    recipes = [recipe(), recipe("the dog", seed=6, guidance=0.0, control_weight=0.5), recipe(seed=7, negative="the")]
    pictures = [SQUARES, 255 - SQUARES, np.roll(SQUARES, 4, 1)]
    alone = [drawn(family, r, p) for r, p in zip(recipes, pictures, strict=True)]
    shared = together(family, [begun(family, r, p) for r, p in zip(recipes, pictures, strict=True)])
    assert [apart(a, b) <= ONE for a, b in zip(alone, shared, strict=True)] == [True] * 3


def test_a_kind_without_a_controlnet_is_refused(family: BatchedFamily) -> None:
    with pytest.raises(BadRecipe, match="without control pictures"):
        begun(family, recipe(control="pose"))


def test_it_goes_on_when_the_controlnet_is_loaded_again(family: BatchedFamily, folder: Path) -> None:
    state = begun(family, recipe())
    family.step([state])
    family.controls.clear()
    add(family, folder.parent / "control")
    assert apart(together(family, [state])[0], drawn(family, recipe())) <= ONE


Write = Callable[[Path, Path], Path]
FILES: Mapping[str, Write] = {
    "diffusers": fakes.diffusers_file,
    "original": fakes.original_file,
    "bare": lambda folder, path: fakes.original_file(folder, path, prefix=""),
}


@pytest.mark.parametrize(
    ("name", "layout"),
    [("sd15", "diffusers"), ("sd15", "original"), ("sd15", "bare"), ("sdxl", "diffusers")],
    indirect=["name"],
)
def test_a_single_file_of_a_unet_draws_as_the_folder(
    family: BatchedFamily, folder: Path, layout: str, tmp_path: Path
) -> None:
    expected = drawn(family, recipe())
    torch.manual_seed(3)
    other = opened(family.spec.name, folder)
    # The published embedding of the hint is wider than that of the other tests.
    made = ControlNetModel.from_unet(other.pipe.unet)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    made.save_pretrained(tmp_path / "made")
    add(other, tmp_path / "made")
    whole = drawn(other, recipe())
    other.controls.clear()
    add(other, FILES[layout](tmp_path / "made", tmp_path / "one.safetensors"))
    assert apart(drawn(other, recipe()), whole) <= ONE
    assert apart(whole, expected) > 0.02


@pytest.mark.parametrize("name", ["z_image"], indirect=True)
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"control_in_dim": 33, "add_control_noise_refiner": "control_layers", "control_refiner_layers_places": [0]},
        {
            "control_in_dim": 33,
            "add_control_noise_refiner": "control_noise_refiner",
            "control_refiner_layers_places": [0],
        },
    ],
    ids=["1", "2.0", "2.1"],
)
def test_every_version_of_z_image_from_a_folder_and_a_file(
    folder: Path, config: Mapping[str, Any], tmp_path: Path
) -> None:
    family = opened("z_image", folder)
    add(family, fakes.controlnet(family.pipe, tmp_path / "control", **config))
    whole = drawn(family, recipe())
    assert apart(whole, bare(family, recipe())) <= ONE
    assert apart(whole, drawn(family, recipe(control=""))) > 0.02
    family.controls.clear()
    add(family, fakes.diffusers_file(tmp_path / "control", tmp_path / "one.safetensors"))
    assert isinstance(family.controls["depth"].module, ZImageControlNetModel)
    assert apart(drawn(family, recipe()), whole) <= ONE


@pytest.mark.parametrize("name", ["sd15"], indirect=True)
def test_one_that_pools_follows_the_prompt_alone(family: BatchedFamily, folder: Path, tmp_path: Path) -> None:
    other = opened("sd15", folder)
    add(other, fakes.controlnet(other.pipe, tmp_path / "shuffle", global_pool_conditions=True))
    assert apart(drawn(other, recipe()), bare(other, recipe())) <= ONE


def test_one_for_another_model_is_refused(family: BatchedFamily, name: str, tmp_path: Path) -> None:
    others = {other: make for other, make in models.SMALL.items() if other != name}
    for other, make in others.items():
        pipe = opened(other, make(tmp_path / other)).pipe
        path = fakes.controlnet(pipe, tmp_path / f"control-{other}")
        with pytest.raises(UnknownModel, match=f"holds a ControlNet for {spec_of(other).title}"):
            add(family, path)


@pytest.mark.parametrize("name", ["z_image"], indirect=True)
def test_one_of_another_width_is_refused(family: BatchedFamily, tmp_path: Path) -> None:
    wide = opened("z_image", models.small_z_image(tmp_path / "wide", dim=128, n_heads=4, n_kv_heads=4)).pipe
    path = fakes.controlnet(wide, tmp_path / "control")
    with pytest.raises(UnknownModel, match=r"128 channels where it has 64\)\."):
        add(family, path)
