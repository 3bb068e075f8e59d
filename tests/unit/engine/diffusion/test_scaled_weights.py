"""Files with scaled weights, under ComfyUI's key names, are loaded as the weights that they stand for."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.contract import UnknownModel
from engine.diffusion.assemble import assemble
from engine.diffusion.files import Files, check
from engine.diffusion.scaled_weights import dequantised, rotation
from engine.folders import profile_of
from engine.spec import Lora
from tests.fakes import models

pytestmark = pytest.mark.slow

FP8 = torch.float8_e4m3fn
PREFIX = "model.diffusion_model."


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.zoo(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def plain(zoo: Path) -> Callable[[str], Any]:
    """Return the pipeline of a family as its folder has it; not to be changed."""
    return functools.cache(lambda name: made(Files(name, zoo / name)))


def made(files: Files, dtype: torch.dtype = torch.float32) -> Any:
    check(files)
    return assemble(files, profile_of(files.folder), dtype)


def refusal(files: Files) -> str:
    with pytest.raises(UnknownModel) as caught:
        check(files)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    return text


def picture(pipe: Any) -> Any:
    generator = torch.Generator().manual_seed(3)
    return pipe("a red cat", num_inference_steps=2, width=64, height=64, generator=generator, output_type="np").images[
        0
    ]


def quantised(weight: Tensor, kind: str, *, rows: bool = False, group: int = 0) -> tuple[Tensor, Tensor]:
    """Return a weight in fp8 or int8 and its scale."""
    weight = weight.float()
    if group:
        weight = (weight.reshape(len(weight), -1, group) @ rotation(group)).reshape(weight.shape)
    most = 127.0 if kind == "int8_tensorwise" else float(torch.finfo(getattr(torch, kind)).max)
    largest = weight.abs().flatten(1).amax(1, keepdim=True) if rows else weight.abs().max()
    scale = (largest / most).clamp(min=1e-12)
    wide = weight / (scale.reshape(-1, *[1] * (weight.dim() - 1)) if rows else scale)
    if kind == "int8_tensorwise":
        return wide.round().clamp(-127, 127).to(torch.int8), scale
    return wide.to(getattr(torch, kind)), scale


def text(found: object) -> Tensor:
    return torch.tensor(list(json.dumps(found).encode()), dtype=torch.uint8)


def layers(tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """Yield the linear layers that such files have in fp8 or int8."""
    for key, tensor in tensors.items():
        if key.endswith(".weight") and tensor.dim() == 2 and tensor.shape[1] % 16 == 0 and "_embedder" not in key:
            yield key.removesuffix(".weight")


def older(path: Path, tensors: dict[str, Tensor], *, prefix: str = "", inputs: bool = True) -> Mapping[str, Tensor]:
    """Write a file in the older form; return the weights that it stands for."""
    expected, found = dict(tensors), dict(tensors)
    for layer in layers(tensors):
        weight, scale = quantised(tensors[f"{layer}.weight"], "float8_e4m3fn")
        expected[f"{layer}.weight"] = weight.float() * scale
        found |= {f"{layer}.weight": weight, f"{layer}.scale_weight": scale}
        if inputs:
            found[f"{layer}.scale_input"] = torch.tensor(1.0)
    save_file(found | {f"{prefix}scaled_fp8": torch.zeros(2, dtype=FP8)}, path)
    return expected


def newer(
    path: Path,
    tensors: dict[str, Tensor],
    kind: str,
    *,
    rows: bool = False,
    group: int = 0,
    metadata: bool = False,
    **more: object,
) -> Mapping[str, Tensor]:
    """Write a file with comfy_quant layers; return the weights that it stands for."""
    expected, found, described = dict(tensors), dict(tensors), {}
    for layer in layers(tensors):
        weight, scale = quantised(tensors[f"{layer}.weight"], kind, rows=rows, group=group)
        expected[f"{layer}.weight"] = dequantised(weight, scale, group)
        found |= {f"{layer}.weight": weight, f"{layer}.weight_scale": scale}
        rotated = {"convrot": True, "convrot_groupsize": group} if group else {}
        described[layer.removeprefix(PREFIX)] = {"format": kind, **rotated, **more}
        if kind.startswith("float8"):
            found[f"{layer}.input_scale"] = torch.tensor(1.0)
        if not metadata:
            found[f"{layer}.comfy_quant"] = text(described[layer.removeprefix(PREFIX)])
    written = {"_quantization_metadata": json.dumps({"format_version": "1.0", "layers": described})}
    save_file(found, path, written if metadata else None)
    return expected


def stands_for(files: Files, expected: Mapping[str, Tensor], of: Files, path: Path, plain: Any) -> None:
    """Check that a file gives the pipeline of its dequantised weights, and nearly the picture of the first ones."""
    save_file({key: tensor.contiguous() for key, tensor in expected.items()}, path)
    found, other = made(files), made(of)
    for part in ("unet", "transformer", "vae", "text_encoder", "text_encoder_2"):
        if isinstance(one := getattr(found, part, None), torch.nn.Module):
            states, others = one.state_dict(), getattr(other, part).state_dict()
            assert states.keys() == others.keys()
            for key, tensor in states.items():
                torch.testing.assert_close(tensor, others[key], atol=0, rtol=0)
    drawn = picture(found)
    np.testing.assert_allclose(drawn, picture(other), atol=1e-5)
    error = np.abs(drawn - picture(plain))
    assert 0 < error.mean() < 0.1  # fp8 has three bits of mantissa
    half = made(files, torch.bfloat16)
    denoiser = half.unet if hasattr(half, "unet") else half.transformer
    assert {parameter.dtype for parameter in denoiser.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(("prefix", "inputs"), [("", True), (PREFIX, False)])
@pytest.mark.parametrize("name", ["z_image", "sdxl"])
def test_scaled_fp8(
    zoo: Path, plain: Callable[[str], Any], tmp_path: Path, name: str, prefix: str, inputs: bool
) -> None:
    tensors = load_file(zoo / f"{name}-first.safetensors")
    path, wide = tmp_path / "fp8.safetensors", tmp_path / "wide.safetensors"
    expected = older(path, tensors, prefix=prefix, inputs=inputs)
    base = zoo / name
    stands_for(Files(name, base, denoiser=path), expected, Files(name, base, denoiser=wide), wide, plain(name))


FORMS: Mapping[str, Mapping[str, Any]] = {
    "fp8": {"kind": "float8_e4m3fn"},
    "fp8, computed in full": {"kind": "float8_e4m3fn", "full_precision_matrix_mult": True},
    "the other fp8": {"kind": "float8_e5m2"},
    "fp8 by metadata": {"kind": "float8_e4m3fn", "metadata": True},
    "int8": {"kind": "int8_tensorwise"},
    "int8 by rows": {"kind": "int8_tensorwise", "rows": True},
    "int8, rotated": {"kind": "int8_tensorwise", "rows": True, "group": 16},
}


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("which", ["alone", "first"])
def test_comfy_quant(zoo: Path, plain: Callable[[str], Any], tmp_path: Path, form: str, which: str) -> None:
    tensors = load_file(zoo / f"z_image-{which}.safetensors")
    path, wide = tmp_path / "q.safetensors", tmp_path / "wide.safetensors"
    expected = newer(path, tensors, **FORMS[form])
    base = zoo / "z_image"
    stands_for(
        Files("z_image", base, denoiser=path), expected, Files("z_image", base, denoiser=wide), wide, plain("z_image")
    )


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
@pytest.mark.parametrize("kind", ["float8_e4m3fn", "int8_tensorwise"])
def test_a_single_file_with_scales_in_all_of_its_parts(
    zoo: Path, plain: Callable[[str], Any], tmp_path: Path, name: str, kind: str
) -> None:
    tensors = load_file(zoo / f"{name}.safetensors")
    path, wide = tmp_path / "q.safetensors", tmp_path / "wide.safetensors"
    expected = newer(path, tensors, kind, rows=kind.startswith("int8"))
    assert any(key.startswith(("cond", "cond_stage")) and key.endswith("_scale") for key in load_file(path))
    base = zoo / name
    stands_for(Files(name, base, whole=path), expected, Files(name, base, whole=wide), wide, plain(name))
    save_file(load_file(path) | {"v_pred": torch.zeros(0)}, path)
    assert made(Files(name, base, whole=path)).scheduler.config.prediction_type == "v_prediction"


def test_a_convolution_in_scaled_fp8(zoo: Path, tmp_path: Path) -> None:
    tensors = load_file(zoo / "sdxl-first.safetensors")
    layer = f"{PREFIX}input_blocks.0.0"
    weight, scale = quantised(tensors[f"{layer}.weight"], "float8_e4m3fn", rows=True)
    path = tmp_path / "fp8.safetensors"
    save_file(tensors | {f"{layer}.weight": weight, f"{layer}.weight_scale": scale.flatten()}, path)
    found = made(Files("sdxl", zoo / "sdxl", denoiser=path)).unet.conv_in.weight
    torch.testing.assert_close(found, weight.float() * scale[:, :, None, None])
    torch.testing.assert_close(found, tensors[f"{layer}.weight"], atol=0.01, rtol=0.1)


def test_a_rotation_is_its_own_inverse_and_comfy_kitchens() -> None:
    for size in (4, 16, 64, 256):
        torch.testing.assert_close(rotation(size) @ rotation(size), torch.eye(size))
        torch.testing.assert_close(rotation(size), rotation(size).T)
    assert (rotation(4) * 2).tolist() == [[1, 1, 1, -1], [1, 1, -1, 1], [1, -1, 1, 1], [-1, 1, 1, 1]]
    torch.testing.assert_close(rotation(16), torch.kron(rotation(4), rotation(4)))


LAYER = "layers.0.attention.to_q"


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        ({"format": "nvfp4"}, "ComfyUI's the format 'nvfp4'"),
        ({"format": "convrot_w4a4"}, "the format 'convrot_w4a4'"),
        ({}, "the format 'None'"),
        ({"format": ["a"]}, "the format"),
        ({"format": "float8_e4m3fn", "codebook": 3}, "float8_e4m3fn with codebook"),
        ({"format": "float8_e4m3fn", "convrot": True}, "float8_e4m3fn with convrot"),
        ({"format": "int8_tensorwise"}, f"calls {LAYER} int8_tensorwise, and it is in F8_E4M3"),
    ],
)
@pytest.mark.parametrize("metadata", [False, True])
def test_a_format_that_can_not_be_read(
    zoo: Path, tmp_path: Path, described: object, expected: str, metadata: bool
) -> None:
    tensors = load_file(zoo / "z_image-alone.safetensors")
    weight, scale = quantised(tensors[f"{LAYER}.weight"], "float8_e4m3fn")
    found = tensors | {f"{LAYER}.weight": weight, f"{LAYER}.weight_scale": scale}
    path = tmp_path / "q.safetensors"
    written = None
    if metadata:
        written = {"_quantization_metadata": json.dumps({"layers": {LAYER: described}})}
    else:
        found[f"{LAYER}.comfy_quant"] = text(described)
    save_file(found, path, written)
    assert expected in refusal(Files("z_image", zoo / "z_image", denoiser=path))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"weight_scale": torch.ones(2, 2)}, "has scales for blocks of"),
        ({"weight_scale": torch.ones(1), "scale_weight": torch.ones(1)}, "the scale of layers.0.attention.to_q twice"),
        (
            {"weight_scale": torch.ones(1), "pre_quant_scale": torch.ones(64)},
            "(layers.0.attention.to_q.pre_quant_scale)",
        ),
        ({"comfy_quant": text({"format": "float8_e4m3fn"})}, "has no scale for layers.0.attention.to_q"),
        (
            {"comfy_quant": torch.zeros(9, dtype=torch.uint8), "weight_scale": torch.ones(1)},
            "in a way that can't be read",
        ),
        ({"comfy_quant": torch.zeros(9), "weight_scale": torch.ones(1)}, "in a way that can't be read"),
    ],
)
def test_scales_that_do_not_fit(zoo: Path, tmp_path: Path, more: Mapping[str, Tensor], expected: str) -> None:
    tensors = load_file(zoo / "z_image-alone.safetensors")
    tensors[f"{LAYER}.weight"] = tensors[f"{LAYER}.weight"].to(FP8)
    path = tmp_path / "q.safetensors"
    save_file(tensors | {f"{LAYER}.{last}": tensor for last, tensor in more.items()}, path)
    assert expected in refusal(Files("z_image", zoo / "z_image", denoiser=path))


def test_int8_without_its_format(zoo: Path, tmp_path: Path) -> None:
    tensors = load_file(zoo / "z_image-alone.safetensors")
    weight, scale = quantised(tensors[f"{LAYER}.weight"], "int8_tensorwise")
    path = tmp_path / "q.safetensors"
    save_file(tensors | {f"{LAYER}.weight": weight, f"{LAYER}.weight_scale": scale}, path)
    assert "scaled weights in I8 without their format" in refusal(Files("z_image", zoo / "z_image", denoiser=path))


def test_a_scale_without_a_weight(zoo: Path, tmp_path: Path) -> None:
    path = tmp_path / "q.safetensors"
    save_file(load_file(zoo / "z_image-alone.safetensors") | {"layers.9.w.weight_scale": torch.ones(1)}, path)
    assert "a scale for layers.9.w and no weight" in refusal(Files("z_image", zoo / "z_image", denoiser=path))


@pytest.mark.parametrize("size", [8, 512, "16", 0])
def test_a_rotation_that_can_not_be_undone(zoo: Path, tmp_path: Path, size: object) -> None:
    path = tmp_path / "q.safetensors"
    tensors = load_file(zoo / "z_image-alone.safetensors")
    newer(path, tensors, "int8_tensorwise", convrot=True, convrot_groupsize=size)
    assert "int8_tensorwise with convrot" in refusal(Files("z_image", zoo / "z_image", denoiser=path))
    newer(path, tensors, "int8_tensorwise", convrot=True, params={"convrot_groupsize": 256})
    assert "has scales for blocks" in refusal(Files("z_image", zoo / "z_image", denoiser=path))


def test_a_lora_over_scaled_weights(zoo: Path, tmp_path: Path) -> None:
    path, wide = tmp_path / "q.safetensors", tmp_path / "wide.safetensors"
    expected = newer(path, load_file(zoo / "z_image-alone.safetensors"), "float8_e4m3fn")
    save_file(dict(expected), wide)
    lora = (Lora(str(zoo / "z_image-lora.safetensors")),)
    one, other = (made(Files("z_image", zoo / "z_image", denoiser=p, loras=lora)) for p in (path, wide))
    np.testing.assert_allclose(picture(one), picture(other), atol=1e-5)
