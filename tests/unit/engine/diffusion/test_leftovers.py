"""Weights that a model has no place for are refused or named in the log."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.contract import UnknownModel
from engine.diffusion.assemble import assemble
from engine.diffusion.files import Files, check
from engine.families.sdxl.spec import sdxl
from engine.folders import profile_of
from tests.fakes import models

pytestmark = pytest.mark.slow

PREFIX = "model.diffusion_model."


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.zoo(tmp_path_factory.mktemp("models"))


def made(files: Files) -> Any:
    check(files)
    return assemble(files, profile_of(files.folder), torch.float32)


@pytest.mark.parametrize(
    ("name", "which", "key"),
    [
        ("sdxl", "alone", "controlnet_cond_embedding.conv_in.weight"),
        ("sdxl", "first", f"{PREFIX}time_cond_proj.weight"),
        ("sd15", "first", f"{PREFIX}input_blocks.1.1.transformer_blocks.0.attn2.to_k_ip.weight"),
        ("z_image", "first", f"{PREFIX}control_layers.0.attention.out.weight"),
        ("z_image", "alone", "siglip_embedder.1.weight"),
    ],
)
def test_weights_of_a_denoiser_without_a_place(zoo: Path, tmp_path: Path, name: str, which: str, key: str) -> None:
    path = tmp_path / "more.safetensors"
    save_file(load_file(zoo / f"{name}-{which}.safetensors") | {key: torch.zeros(5, 3)}, path)
    denoiser = "transformer" if name == "z_image" else "unet"
    with pytest.raises(UnknownModel, match=rf"more\.safetensors holds 15 numbers that the {denoiser} of .*\.$") as e:
        check(Files(name, zoo / name, denoiser=path))
    assert (key in str(e.value)) is ("_ip." not in key)


def test_weights_of_a_single_file_without_a_place(zoo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, tensors = tmp_path / "more.safetensors", load_file(zoo / "sdxl.safetensors")
    save_file(tensors | {f"{PREFIX}time_cond_proj.weight": torch.zeros(5)}, path)
    with pytest.raises(UnknownModel, match="holds 5 numbers"):
        check(Files("sdxl", zoo / "sdxl", whole=path))
    save_file(tensors | {"alphas_cumprod": torch.zeros(9), "model_ema.decay": torch.zeros(1)}, path)
    made(Files("sdxl", zoo / "sdxl", whole=path))
    assert caplog.text == ""
    save_file(tensors | {"control_model.a.weight": torch.zeros(9), "control_model.b.weight": torch.zeros(9)}, path)
    made(Files("sdxl", zoo / "sdxl", whole=path))
    assert "2 of the weights in" in caplog.text
    assert "among them control_model.a.weight" in caplog.text


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_a_checkpoint_given_as_a_transformer(zoo: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    made(Files(name, zoo / name, denoiser=zoo / f"{name}.safetensors"))
    assert "holds a VAE too, which is not used: give it as source" in caplog.text
    assert "holds a text encoder too" in caplog.text


def test_a_norm_that_z_image_does_not_use(zoo: Path, tmp_path: Path) -> None:
    path = tmp_path / "norm.safetensors"
    save_file(load_file(zoo / "z_image-first.safetensors") | {f"{PREFIX}norm_final.weight": torch.ones(64)}, path)
    made(Files("z_image", zoo / "z_image", denoiser=path))


def test_a_transformer_that_was_trained_as_edm(zoo: Path, tmp_path: Path) -> None:
    path = tmp_path / "edm.safetensors"
    save_file(load_file(zoo / "sdxl-first.safetensors") | {"edm_mean": torch.zeros(4)}, path)
    with pytest.raises(UnknownModel, match=r"was trained as EDM \(edm_mean\)"):
        check(Files("sdxl", zoo / "sdxl", denoiser=path))


def test_a_folder_that_was_distilled_for_its_scheduler(
    zoo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(shutil.copytree(zoo / "sdxl", tmp_path / "lcm"))
    for path in (folder / "model_index.json", folder / "scheduler" / "scheduler_config.json"):
        path.write_text(path.read_text().replace("EulerDiscreteScheduler", "LCMScheduler"))
    files = Files("sdxl", folder)
    made(files)
    assert f"{folder} was made for LCMScheduler and is drawn with EulerDiscreteScheduler" in caplog.text
    caplog.clear()
    assemble(files, replace(sdxl(), scheduler="LCMScheduler"), torch.float32)
    assert "was made for" not in caplog.text
