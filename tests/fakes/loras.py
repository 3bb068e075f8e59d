"""Small LoRAs for small pipelines, under the names that trainers write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.fakes.original import unet_name

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


def _linear(model: nn.Module, ends: tuple[str, ...]) -> list[tuple[str, nn.Module]]:
    return [(name, module) for name, module in model.named_modules() if name.endswith(ends)]


def _pair(name: str, module: nn.Module, scale: float, generator: torch.Generator) -> dict[str, Tensor]:
    down, up = _matrices(module, scale, generator)
    return {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": torch.tensor(float(RANK))}


def _matrices(module: nn.Module, scale: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    weight = module.weight
    assert isinstance(weight, Tensor)
    out, inside = weight.shape
    down = torch.randn(RANK, inside, generator=generator) / inside**0.5
    return down, torch.randn(out, RANK, generator=generator) * scale * 0.5
