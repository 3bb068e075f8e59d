"""Small LoRAs for small pipelines, under the names that trainers write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.fakes.single_files import unet_name

RANK = 4


def kohya(pipe: Any, path: Path, *, text: bool = True, scale: float = 1.0) -> Path:
    """Write a LoRA of a UNet (and its text encoders) as kohya's scripts do: for SDXL under the first layout's names."""
    xl = getattr(pipe, "text_encoder_2", None) is not None
    layers = pipe.unet.config.layers_per_block + 1
    tensors: dict[str, Tensor] = {}
    generator = torch.Generator().manual_seed(1)
    for name, module in _linear(pipe.unet, ("attn1.to_q", "attn2.to_k", "attn2.to_v")):
        named = unet_name(f"{name}.weight", layers, ()).removesuffix(".weight") if xl else name
        tensors |= _pair(f"lora_unet_{named.replace('.', '_')}", module, scale, generator)
    if text:
        encoders = {"te1": pipe.text_encoder, "te2": pipe.text_encoder_2} if xl else {"te": pipe.text_encoder}
        for prefix, encoder in encoders.items():
            for name, module in _linear(encoder, ("self_attn.q_proj", "self_attn.out_proj", "mlp.fc1")):
                named = f"text_model_{name.removeprefix('text_model.').replace('.', '_')}"
                tensors |= _pair(f"lora_{prefix}_{named}", module, scale, generator)
    save_file(tensors, path)
    return path


def peft(pipe: Any, path: Path, *, prefix: str = "transformer", scale: float = 1.0) -> Path:
    """Write a LoRA of a transformer or UNet as peft does; ``diffusion_model`` is the prefix of ai-toolkit's."""
    model = pipe.unet if prefix == "unet" else pipe.transformer
    generator = torch.Generator().manual_seed(1)
    tensors: dict[str, Tensor] = {}
    for name, module in _linear(model, ("attn2.to_k", "attn2.to_v", "attention.to_q", "attention.to_v")):
        down, up = _matrices(module, scale, generator)
        tensors |= {f"{prefix}.{name}.lora_A.weight": down, f"{prefix}.{name}.lora_B.weight": up}
    save_file(tensors, path)
    return path


def by_layer(pipe: Any, resized: Path, padded: Path) -> None:
    """Write two LoRAs of equal deltas: ranks and alphas by layer, as sd-scripts resizes them, and one rank and alpha."""
    xl = getattr(pipe, "text_encoder_2", None) is not None
    layers = pipe.unet.config.layers_per_block + 1
    generator = torch.Generator().manual_seed(2)
    named = {
        f"lora_unet_{unet_name(f'{name}.weight', layers, ()).removesuffix('.weight') if xl else name}": module
        for name, module in _linear(pipe.unet, ("to_q", "to_k", "to_v", "to_out.0"))
    }
    for prefix, encoder in {
        "te1" if xl else "te": pipe.text_encoder,
        "te2": getattr(pipe, "text_encoder_2", None),
    }.items():
        for name, module in _linear(encoder, ("q_proj", "v_proj", "mlp.fc1")) if encoder is not None else []:
            named[f"lora_{prefix}_text_model_{name.removeprefix('text_model.')}"] = module
    most = 8
    one: dict[str, Tensor] = {}
    other: dict[str, Tensor] = {}
    for index, (dotted, module) in enumerate(named.items()):
        name, weight = dotted.replace(".", "_"), module.weight
        assert isinstance(weight, Tensor)
        rank, alpha = (1, 2, 3, 5, 8)[index % 5], (0.5, 1.0, 4.0)[index % 3]
        down = torch.randn(rank, weight.shape[1], generator=generator) / weight.shape[1] ** 0.5
        up = torch.randn(weight.shape[0], rank, generator=generator) * 0.5
        one |= _kohya(name, down, up, alpha)
        zeros_down, zeros_up = torch.zeros(most - rank, weight.shape[1]), torch.zeros(weight.shape[0], most - rank)
        other |= _kohya(name, torch.cat([down * alpha / rank, zeros_down]), torch.cat([up, zeros_up], 1), float(most))
    save_file(one, resized)
    save_file(other, padded)


def comfy_z_image(pipe: Any, path: Path, *, style: str = "AB") -> Path:
    """Write a LoRA of every layer of a Z-Image transformer under its first names, queries, keys and values in one.

    Args:
        pipe: The pipeline.
        path: The file.
        style: ``AB`` (``diffusion_model.…lora_A``), ``down`` (``…lora_down`` with alphas) or ``kohya`` (underscores).
    """
    generator = torch.Generator().manual_seed(1)
    tensors: dict[str, Tensor] = {}
    for index, (name, module) in enumerate(_linear(pipe.transformer, ("to_q", "to_out.0", "w1", "w2", "w3"))):
        if "attention." not in name and "feed_forward." not in name:
            continue
        first = name.replace("attention.to_q", "attention.qkv").replace("attention.to_out.0", "attention.out")
        weight = module.weight
        assert isinstance(weight, Tensor)
        rank, rows = 2 + index % 3, weight.shape[0] * (3 if first.endswith("qkv") else 1)
        down = torch.randn(rank, weight.shape[1], generator=generator) / weight.shape[1] ** 0.5
        up = torch.randn(rows, rank, generator=generator) * 0.5
        match style:
            case "AB":
                one = {"lora_A.weight": down, "lora_B.weight": up}
                tensors |= {f"diffusion_model.{first}.{slot}": tensor for slot, tensor in one.items()}
            case "down":
                tensors |= _kohya(f"diffusion_model.{first}", down, up, rank / 2)
            case _:
                tensors |= _kohya(f"lora_unet_{first.replace('.', '_')}", down, up, rank / 2)
    save_file(tensors, path)
    return path


def lokr(pipe: Any, path: Path, *, factor: int = 4, rank: int = 2) -> Path:
    """Write a LoKr of a Z-Image transformer as ai-toolkit does: one factor whole, the other one decomposed."""
    generator = torch.Generator().manual_seed(1)
    tensors: dict[str, Tensor] = {}
    for name, module in _linear(pipe.transformer, ("attention.to_q", "attention.to_v")):
        weight = module.weight
        assert isinstance(weight, Tensor)
        out, inside = weight.shape
        tensors |= {
            f"diffusion_model.{name}.lokr_w1": torch.randn(factor, factor, generator=generator) * 0.3,
            f"diffusion_model.{name}.lokr_w2_a": torch.randn(out // factor, rank, generator=generator) * 0.3,
            f"diffusion_model.{name}.lokr_w2_b": torch.randn(rank, inside // factor, generator=generator) * 0.3,
            f"diffusion_model.{name}.alpha": torch.tensor(rank / 2),
        }
    save_file(tensors, path)
    return path


def _kohya(name: str, down: Tensor, up: Tensor, alpha: float) -> dict[str, Tensor]:
    return {
        f"{name}.lora_down.weight": down.contiguous(),
        f"{name}.lora_up.weight": up.contiguous(),
        f"{name}.alpha": torch.tensor(alpha),
    }


def _linear(model: nn.Module, ends: tuple[str, ...]) -> list[tuple[str, nn.Module]]:
    return [(name, module) for name, module in model.named_modules() if name.endswith(ends)]


def _pair(name: str, module: nn.Module, scale: float, generator: torch.Generator) -> dict[str, Tensor]:
    down, up = _matrices(module, scale, generator)
    return _kohya(name, down, up, float(RANK))


def _matrices(module: nn.Module, scale: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    weight = module.weight
    assert isinstance(weight, Tensor)
    out, inside = weight.shape
    down = torch.randn(RANK, inside, generator=generator) / inside**0.5
    return down, torch.randn(out, RANK, generator=generator) * scale * 0.5
