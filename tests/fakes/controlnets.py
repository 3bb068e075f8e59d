"""Small ControlNets for small pipelines, of the real classes, and single files in the layouts that are published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, ZImageControlNetModel
from safetensors.torch import save_file
from torch import Tensor

from tests.fakes.single_files import unet_name

PUBLISHED = "diffusion_pytorch_model.safetensors"


def controlnet(pipe: Any, folder: Path, seed: int = 7, **config: Any) -> Path:
    """Save a ControlNet for a small pipeline of any family; it changes pictures visibly. ``config`` is Z-Image's."""
    torch.manual_seed(seed)
    module = _z_image(pipe, **config) if hasattr(pipe, "transformer") else _unet(pipe, **config)
    module.eval().save_pretrained(folder, safe_serialization=True)
    return folder


def diffusers_file(folder: Path, path: Path) -> Path:
    """Write a saved ControlNet as one file, in diffusers' own layout."""
    path.write_bytes((folder / PUBLISHED).read_bytes())
    return path


def original_file(folder: Path, path: Path, *, prefix: str = "control_model.") -> Path:
    """Write a saved ControlNet of a UNet as one file, as its authors first published it (lllyasviel/ControlNet)."""
    module: Any = ControlNetModel.from_pretrained(folder)
    layers = int(module.config.layers_per_block) + 1
    names = dict(module.named_modules())
    attentive = {name.partition(".attentions.")[0] for name in names if ".attentions." in name}
    tensors: dict[str, Tensor] = {}
    for name, tensor in module.state_dict().items():
        tensors[prefix + _original(name, layers, attentive)] = tensor.contiguous()
    save_file(tensors, path)
    return path


def _original(name: str, layers: int, attentive: set[str]) -> str:
    match name.split("."):
        case ["controlnet_cond_embedding", "conv_in", last]:
            return f"input_hint_block.0.{last}"
        case ["controlnet_cond_embedding", "conv_out", last]:
            return f"input_hint_block.14.{last}"
        case ["controlnet_cond_embedding", "blocks", number, last]:
            return f"input_hint_block.{2 * int(number) + 2}.{last}"
        case ["controlnet_down_blocks", number, last]:
            return f"zero_convs.{number}.0.{last}"
        case ["controlnet_mid_block", last]:
            return f"middle_block_out.0.{last}"
    return unet_name(name, layers, attentive)


def _unet(pipe: Any, **config: Any) -> Any:
    module = ControlNetModel.from_unet(
        pipe.unet, conditioning_embedding_out_channels=(8, 16, 16, 32), load_weights_from_unet=not config
    )
    if config:
        module = ControlNetModel.from_config(dict(module.config) | config)
    _awake(module, ("controlnet_down_blocks", "controlnet_mid_block", "controlnet_cond_embedding"), 0.3)
    return module


def _z_image(pipe: Any, **config: Any) -> Any:
    ours = pipe.transformer.config
    shared = ("all_patch_size", "all_f_patch_size", "dim", "n_refiner_layers", "n_heads", "n_kv_heads", "norm_eps")
    version1 = {"control_layers_places": [0], "control_in_dim": 16}
    module = ZImageControlNetModel(**{key: ours[key] for key in shared} | version1 | config)
    _awake(module, ("before_proj", "after_proj"), 0.05)
    return module


@torch.no_grad()
def _awake(module: Any, layers: tuple[str, ...], deviation: float) -> None:
    """Give weights to the layers that training begins with zeros: without them, it would change nothing."""
    for name, parameter in module.named_parameters():
        if any(layer in name for layer in layers):
            parameter.normal_(std=deviation)
