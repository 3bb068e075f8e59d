"""A LoRA is applied whole and in its strength at every layer, or refused by the name of what can't be."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.contract import UnknownModel
from engine.diffusion.files import Files
from engine.spec import Lora
from tests.fakes import loras, models, pipelines
from tests.unit.engine.diffusion.test_assemble import made, picture, quantised, same, weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.zoo(tmp_path_factory.mktemp("models"))


def with_lora(zoo: Path, name: str, lora: Path, weight: float = 1.0) -> Any:
    return made(Files(name, zoo / name, loras=(Lora(str(lora), weight),)))


def added(zoo: Path, name: str, lora: Path) -> Mapping[str, Tensor]:
    """Return what a LoRA adds to each weight that it changes."""
    before, after = weights(pipelines.load(zoo / name)), weights(with_lora(zoo, name, lora))
    return {key: after[key] - before[key] for key in before if not torch.equal(after[key], before[key])}


def refusal(zoo: Path, name: str, lora: Path) -> str:
    with pytest.raises(UnknownModel) as caught:
        with_lora(zoo, name, lora)
    text = str(caught.value)
    assert "download" not in text
    assert re.fullmatch(r"[^\n]{20,600}\.", text), text
    return text


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_alpha_and_rank_by_layer(zoo: Path, name: str, tmp_path: Path) -> None:
    resized, padded = tmp_path / "resized.safetensors", tmp_path / "padded.safetensors"
    loras.by_layer(pipelines.load(zoo / name), resized, padded)
    one, other = added(zoo, name, resized), added(zoo, name, padded)
    assert one.keys() == other.keys()
    assert len(one) == len(load_file(resized)) // 3
    for key, delta in one.items():
        torch.testing.assert_close(delta, other[key], atol=1e-5, rtol=1e-4)
    pictures = [picture(with_lora(zoo, name, lora)) for lora in (resized, padded)]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1 / 255
    assert np.abs(pictures[0] - picture(pipelines.load(zoo / name))).mean() > 0.02


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_one_strength_everywhere_is_as_the_library_reads_it(zoo: Path, name: str) -> None:
    path = zoo / f"{name}-lora.safetensors"
    theirs = pipelines.load(zoo / name)
    theirs.load_lora_weights(str(zoo), weight_name=path.name)
    theirs.fuse_lora(components=["unet", "text_encoder", *(["text_encoder_2"] if name == "sdxl" else [])])
    theirs.unload_lora_weights()
    ours, wanted = weights(with_lora(zoo, name, path)), weights(theirs)
    for key, tensor in wanted.items():
        torch.testing.assert_close(ours[key], tensor, atol=1e-5, rtol=1e-4)


def test_ranks_by_layer_without_alphas_and_alphas_in_peft_names(zoo: Path, tmp_path: Path) -> None:
    plain = load_file(models.lora(zoo / "sdxl", tmp_path / "plain.safetensors", style="peft"))
    halved = {key: tensor for key, tensor in plain.items() if "lora_A" in key}
    alphas = {key.replace("lora_A.weight", "alpha"): torch.tensor(1.0) for key in halved}
    save_file(plain | alphas, tmp_path / "alphas.safetensors")
    one = added(zoo, "sdxl", tmp_path / "plain.safetensors")
    quarter = added(zoo, "sdxl", tmp_path / "alphas.safetensors")
    assert one.keys() == quarter.keys()
    for key in one:
        torch.testing.assert_close(quarter[key], one[key] / loras.RANK, atol=1e-5, rtol=1e-4)


def test_strengths_in_the_files_metadata(zoo: Path, tmp_path: Path) -> None:
    path = models.lora(zoo / "z_image", tmp_path / "plain.safetensors", style="transformer")
    config = {
        "transformer.r": 4,
        "transformer.lora_alpha": 8,
        "transformer.alpha_pattern": {"layers.0.attention.to_q": 2},
    }
    save_file(load_file(path), tmp_path / "told.safetensors", {"lora_adapter_metadata": json.dumps(config)})
    one, told = added(zoo, "z_image", path), added(zoo, "z_image", tmp_path / "told.safetensors")
    assert one.keys() == told.keys()
    for key in one:
        factor = 0.5 if key == "transformer.layers.0.attention.to_q.weight" else 2.0
        torch.testing.assert_close(told[key], one[key] * factor, atol=1e-5, rtol=1e-4)
    save_file(load_file(path), tmp_path / "deep.safetensors", {"lora_adapter_metadata": "[" * 100_000})
    assert "its metadata lora_adapter_metadata can't be read" in refusal(zoo, "z_image", tmp_path / "deep.safetensors")


@pytest.mark.parametrize("style", ["AB", "down", "kohya"])
def test_fused_layers_of_z_image_beside_others(zoo: Path, tmp_path: Path, style: str) -> None:
    pipe = pipelines.load(zoo / "z_image")
    path = loras.comfy_z_image(pipe, tmp_path / "comfy.safetensors", style=style)
    found = added(zoo, "z_image", path)
    layers = {
        name
        for name, _ in pipe.transformer.named_modules()
        if name.endswith((".to_q", ".to_k", ".to_v", ".to_out.0", ".w1", ".w2", ".w3"))
    }
    assert set(found) == {f"transformer.{name}.weight" for name in layers}
    tensors = load_file(path)
    begin = "lora_unet_layers_1_attention_qkv" if style == "kohya" else "diffusion_model.layers.1.attention.qkv"
    down, up = (
        next(t for k, t in tensors.items() if k.startswith(begin) and k.endswith(end))
        for end in (("A.weight", "down.weight"), ("B.weight", "up.weight"))
    )
    whole = up @ down * (1.0 if style == "AB" else 0.5)
    split = torch.cat([found[f"transformer.layers.1.attention.to_{which}.weight"] for which in "qkv"])
    torch.testing.assert_close(split, whole, atol=1e-5, rtol=1e-4)


def test_fused_and_split_layers_in_one_file(zoo: Path, tmp_path: Path) -> None:
    path = loras.comfy_z_image(pipelines.load(zoo / "z_image"), tmp_path / "comfy.safetensors")
    tensors = load_file(path)
    block = "diffusion_model.layers.0.attention"
    ups = tensors[f"{block}.qkv.lora_B.weight"].chunk(3)
    for which, up in zip("qkv", ups, strict=True):
        tensors[f"{block}.to_{which}.lora_A.weight"] = tensors[f"{block}.qkv.lora_A.weight"].clone()
        tensors[f"{block}.to_{which}.lora_B.weight"] = up.clone()
    save_file(tensors, tmp_path / "both.safetensors")
    assert same(with_lora(zoo, "z_image", path), with_lora(zoo, "z_image", tmp_path / "both.safetensors"))
    tensors[f"{block}.to_q.lora_B.weight"] *= 2
    save_file(tensors, tmp_path / "both.safetensors")
    assert "layers.0.attention.to_q twice" in refusal(zoo, "z_image", tmp_path / "both.safetensors")


def test_a_lokr_of_z_image(zoo: Path, tmp_path: Path) -> None:
    path = loras.lokr(pipelines.load(zoo / "z_image"), tmp_path / "lokr.safetensors")
    found, tensors = added(zoo, "z_image", path), load_file(path)
    assert len(found) == len(tensors) // 4
    for key, delta in found.items():
        begin = f"diffusion_model.{key.removeprefix('transformer.').removesuffix('.weight')}"
        w1, a, b = (tensors[f"{begin}.lokr_{which}"] for which in ("w1", "w2_a", "w2_b"))
        torch.testing.assert_close(delta, torch.kron(w1, a @ b) / 2, atol=1e-5, rtol=1e-4)
    q8 = quantised(zoo / "z_image-first.safetensors", tmp_path / "q8.gguf")
    beside = picture(made(Files("z_image", zoo / "z_image", denoiser=q8, loras=(Lora(str(path)),))))
    assert np.abs(beside - picture(with_lora(zoo, "z_image", path))).mean() < 0.02
    assert np.abs(beside - picture(made(Files("z_image", zoo / "z_image", denoiser=q8)))).mean() > 0.02
    del tensors["diffusion_model.layers.0.attention.to_q.lokr_w1"]
    save_file(tensors, path)
    assert "layers.0.attention.to_q" in refusal(zoo, "z_image", path)


@pytest.mark.parametrize(
    ("name", "key", "shape", "expected"),
    [
        ("sd15", "bundle_emb.cat.string_to_param.*", (2, 32), "'bundle_emb.cat.string_to_param.*' (an embedding"),
        ("z_image", "bundle_emb.cat.emb_params", (2, 32), "'bundle_emb.cat.emb_params' (an embedding"),
        ("sdxl", "bundle_emb.cat.string_to_param.*", (2, 32), "(an embedding, which is no part of a LoRA)"),
        ("sd15", "lora_unet_down_blocks_0_attentions_0_proj_in.dora_scale", (16, 1), "the other is not there"),
        ("z_image", "diffusion_model.layers.0.attention.to_q.dora_scale", (32, 1), "is DoRA of the shape [32, 1]"),
        ("z_image", "diffusion_model.layers.9.attention.to_q.dora_scale", (64, 1), "dora_scale' (DoRA"),
        ("sdxl", "lora_te1_text_model_encoder_layers_9_mlp_fc1.lora_down.weight", (4, 32), "text encoder"),
        ("z_image", "text_encoder.layers.0.mlp.down_proj.lora_A.weight", (4, 64), "text encoder"),
        ("z_image", "lora_te_layers_0_mlp_down_proj.lora_down.weight", (4, 64), "text encoder"),
        ("z_image", "diffusion_model.layers.9.attention.to_q.lora_A.weight", (4, 64), "a layer that the model does"),
        ("z_image", "diffusion_model.layers.0.attention.qkv.lokr_w1", (4, 4), "layers.0.attention.qkv.lokr_w1"),
        ("sd15", "lora_unet_down_blocks_0_resnets_0_conv1.hada_w1_a", (16, 4), "hada_w1_a is a factor, and not all"),
        ("sd15", "lora_unet_down_blocks_0_resnets_0_conv1.lora_mid.weight", (4, 4, 3, 3), "the other is not there"),
        ("sd15", "lora_unet_down_blocks_0_resnets_0_conv1.oft_blocks", (4, 4, 4), "oft_blocks' (LyCORIS"),
        ("sd15", "lora_unet_down_blocks_0_resnets_0_conv1.diff", (16, 16), "diff has the shape"),
        ("sdxl", "lora_unet_input_blocks_4_1_norm.diff", (32,), "norm.diff' (LyCORIS"),
        ("sd15", "lora_unet_down_blocks_0_attentions_0_proj_out.alpha", (), "the other is not there"),
        ("sd15", "lora_unet_mid_block_attentions_0_proj_out.lora_up.weight", (32, 4), "the other is not there"),
    ],
)  # fmt: skip
def test_what_can_not_be_applied_is_named(
    zoo: Path, tmp_path: Path, name: str, key: str, shape: tuple[int, ...], expected: str
) -> None:
    path = tmp_path / "lora.safetensors"
    save_file(load_file(zoo / f"{name}-lora.safetensors") | {key: torch.ones(shape)}, path)
    assert expected in refusal(zoo, name, path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float8_e5m2])
def test_weights_that_are_not_finite_are_refused(zoo: Path, tmp_path: Path, value: float, dtype: torch.dtype) -> None:
    path = tmp_path / "lora.safetensors"
    tensors = load_file(zoo / "sd15-lora.safetensors")
    key, tensor = next((key, tensor) for key, tensor in tensors.items() if tensor.dim() == 2)
    save_file(tensors | {key: tensor.clone().fill_(value).to(dtype)}, path)
    assert f"{key} has values that are infinite or not numbers" in refusal(zoo, "sd15", path)


def test_convolutions_and_layers_of_one_pixel(zoo: Path, tmp_path: Path) -> None:
    conv, linear = "down_blocks.0.resnets.0.conv1", "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    tensors = {
        f"lora_unet_{conv.replace('.', '_')}.lora_down.weight": torch.randn(3, 16, 3, 3),
        f"lora_unet_{conv.replace('.', '_')}.lora_up.weight": torch.randn(16, 3, 1, 1),
        f"lora_unet_{linear.replace('.', '_')}.lora_down.weight": torch.randn(2, 16, 1, 1),
        f"lora_unet_{linear.replace('.', '_')}.lora_up.weight": torch.randn(16, 2, 1, 1),
    }
    save_file(tensors, tmp_path / "conv.safetensors")
    found = added(zoo, "sd15", tmp_path / "conv.safetensors")
    assert set(found) == {f"unet.{conv}.weight", f"unet.{linear}.weight"}
    a, b, c, d = (tensor.flatten(1) for tensor in tensors.values())
    torch.testing.assert_close(found[f"unet.{conv}.weight"].flatten(1), b @ a, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[f"unet.{linear}.weight"], d @ c, atol=1e-5, rtol=1e-4)


def test_dora_as_peft_writes_it(zoo: Path, tmp_path: Path) -> None:
    tensors = load_file(models.lora(zoo / "sdxl", tmp_path / "plain.safetensors", style="peft"))
    before = weights(pipelines.load(zoo / "sdxl"))
    for key in [key for key in tensors if key.endswith("lora_B.weight")]:
        layer = key.removesuffix(".lora_B.weight")
        tensors[f"{layer}.lora_magnitude_vector"] = before[f"{layer}.weight"].norm(dim=1) * 2
    save_file(tensors, tmp_path / "dora.safetensors")
    found = weights(with_lora(zoo, "sdxl", tmp_path / "dora.safetensors"))
    for key in [key for key in tensors if key.endswith("lora_B.weight")]:
        layer = key.removesuffix(".lora_B.weight")
        moved = before[f"{layer}.weight"] + tensors[key] @ tensors[f"{layer}.lora_A.weight"]
        wanted = moved / moved.norm(dim=1, keepdim=True) * tensors[f"{layer}.lora_magnitude_vector"][:, None]
        torch.testing.assert_close(found[f"{layer}.weight"], wanted, atol=1e-4, rtol=1e-3)
    del tensors[f"{layer}.lora_magnitude_vector"]
    save_file(tensors, tmp_path / "dora.safetensors")
    mixed = weights(with_lora(zoo, "sdxl", tmp_path / "dora.safetensors"))
    torch.testing.assert_close(mixed[f"{layer}.weight"], moved, atol=1e-5, rtol=1e-4)
