"""A file that states v-prediction is drawn as a diffusers pipeline with the published scheduler draws it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import gguf
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from engine.contract import Recipe, UnknownModel
from engine.diffusion.assemble import assemble
from engine.diffusion.files import Files, check
from engine.diffusion.objective import scheduler_config
from engine.families.denoise_state import InitImage
from engine.families.registry import model_class
from engine.folders import profile_of
from tests.fakes import models, pipelines

pytestmark = pytest.mark.slow

VELOCITY = {"prediction_type": "v_prediction"}
ZERO = VELOCITY | {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
ONE = 1 / 255 + 1e-4

Picture = NDArray[np.float32]


def empty(*keys: str) -> dict[str, torch.Tensor]:
    return {key: torch.zeros(0) for key in keys}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.zoo(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize(
    ("keys", "metadata", "expected"),
    [
        ((), {}, {}),
        (("v_pred",), {}, VELOCITY),
        (("v_pred", "ztsnr"), {}, ZERO),
        (("model.diffusion_model.v_pred", "model.diffusion_model.ztsnr"), {}, ZERO),
        ((), {"modelspec.prediction_type": "v"}, VELOCITY),
        ((), {"modelspec.predict_key": "v"}, VELOCITY),
        ((), {"modelspec.prediction_type": "V-Prediction", "ss_zero_terminal_snr": "True"}, ZERO),
        (("ztsnr",), {"modelspec.prediction_type": "v"}, ZERO),
        ((), {"modelspec.prediction_type": "epsilon"}, {}),
        (("v_pred",), {"modelspec.prediction_type": "epsilon"}, VELOCITY),
    ],
)
def test_what_a_file_states(
    tmp_path: Path, keys: tuple[str, ...], metadata: Mapping[str, str], expected: Mapping[str, object]
) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"a": torch.zeros(1)} | empty(*keys), path, dict(metadata))
    assert scheduler_config(path, {"prediction_type": "epsilon"}) == expected


@pytest.mark.parametrize("key", ["modelspec.prediction_type", "modelspec.predict_key"])
def test_an_objective_of_another_kind_is_refused_by_name(zoo: Path, tmp_path: Path, key: str) -> None:
    path = tmp_path / "m.safetensors"
    save_file(load_file(zoo / "sdxl.safetensors"), path, {key: "edm"})
    with pytest.raises(UnknownModel, match=rf"m\.safetensors was trained for 'edm', as its metadata {key} says"):
        check(Files("sdxl", zoo / "sdxl", whole=path))


def test_a_file_that_states_less_than_its_base_is_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"modelspec.prediction_type": "epsilon"})
    assert scheduler_config(path, {"prediction_type": "epsilon"}) == {}
    assert caplog.text == ""
    assert scheduler_config(path, VELOCITY) == {}
    assert "states epsilon and its base v_prediction" in caplog.text


def test_a_file_of_velocities_is_named_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "m.safetensors"
    save_file(empty("v_pred", "ztsnr"), path)
    with caplog.at_level(logging.INFO):
        scheduler_config(path, {})
    assert "was trained with v-prediction and a zero terminal SNR" in caplog.text


def test_the_markers_of_a_gguf(zoo: Path, tmp_path: Path) -> None:
    path = tmp_path / "v.gguf"
    writer = gguf.GGUFWriter(path, "sdxl")
    for name, tensor in load_file(zoo / "sdxl-alone.safetensors").items():
        writer.add_tensor(name, tensor.float().numpy())
    for marker in ("v_pred", "ztsnr"):
        writer.add_tensor(marker, np.zeros(1, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    files = Files("sdxl", zoo / "sdxl", denoiser=path)
    check(files)
    found = assemble(files, profile_of(zoo / "sdxl"), torch.float32).scheduler.config
    assert {key: found[key] for key in ZERO} == ZERO


def drawn(name: str, pipe: Any, recipe: Recipe, start: InitImage | None = None) -> Picture:
    family = model_class(name)(pipe, torch.device("cpu"))
    state = family.begin(recipe, family.encode(recipe.prompt), family.encode(recipe.negative), start)
    while not state.finished:
        family.step([state])
    found: Picture = family.finish(state).clip(0, 1).numpy()
    return found


def bare(pipe: Any, recipe: Recipe, **more: Any) -> Picture:
    found: Picture = pipe(
        recipe.prompt,
        negative_prompt=recipe.negative,
        num_inference_steps=recipe.steps,
        guidance_scale=recipe.guidance,
        generator=torch.Generator().manual_seed(recipe.seed),
        output_type="np",
        **more,
    ).images[0]
    return found


RECIPE = Recipe("a", "small", "a red cat", "the", 64, 64, 5, 4.0, 3)


@pytest.mark.parametrize("scheduler", ["EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "DDIMScheduler"])
@pytest.mark.parametrize(("keys", "told"), [(("v_pred",), VELOCITY), (("v_pred", "ztsnr"), ZERO)])
@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_the_picture_is_that_of_a_plain_pipeline(
    zoo: Path, tmp_path: Path, name: str, keys: tuple[str, ...], told: Mapping[str, object], scheduler: str
) -> None:
    path = tmp_path / "v.safetensors"
    save_file(load_file(zoo / f"{name}.safetensors") | empty(*keys), path)
    profile = replace(profile_of(zoo / name), scheduler=scheduler)
    found = drawn(name, assemble(Files(name, zoo / name, whole=path), profile, torch.float32), RECIPE)
    plain = pipelines.load(zoo / name)
    kind = getattr(diffusers, scheduler)
    noise = kind.from_config(plain.scheduler.config)
    plain.scheduler = kind.from_config(plain.scheduler.config, **told)
    assert np.abs(found - bare(plain, RECIPE, width=64, height=64)).max() <= ONE
    plain.scheduler = noise
    assert np.abs(found - bare(plain, RECIPE, width=64, height=64)).max() > 0.1


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_from_a_picture_it_is_that_of_a_plain_pipeline(zoo: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "v.safetensors"
    save_file(load_file(zoo / f"{name}-alone.safetensors") | empty("v_pred", "ztsnr"), path)
    pipe = assemble(Files(name, zoo / name, denoiser=path), profile_of(zoo / name), torch.float32)
    pixels = np.random.default_rng(1).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    recipe = replace(RECIPE, strength=0.6)
    found = drawn(name, pipe, recipe, InitImage(pixels))
    given = model_class(name)(pipe, torch.device("cpu")).encode_pixels(
        torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    )
    plain = pipelines.load(zoo / name)
    plain.scheduler = diffusers.EulerDiscreteScheduler.from_config(plain.scheduler.config, **ZERO)
    kind = getattr(diffusers, type(plain).__name__.replace("Pipeline", "Img2ImgPipeline"))
    assert np.abs(found - bare(kind(**plain.components), recipe, image=given, strength=0.6)).max() <= ONE


def test_the_operators_setting_wins(zoo: Path, tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    save_file(load_file(zoo / "sdxl.safetensors") | empty("v_pred", "ztsnr"), path)
    told: dict[str, str | bool] = {
        "prediction_type": "epsilon",
        "rescale_betas_zero_snr": False,
        "timestep_spacing": "linspace",
    }
    profile = replace(profile_of(zoo / "sdxl"), scheduler_config=told)
    found = assemble(Files("sdxl", zoo / "sdxl", whole=path), profile, torch.float32).scheduler.config
    assert {key: found[key] for key in told} == told
