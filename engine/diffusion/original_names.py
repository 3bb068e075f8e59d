"""Names that a denoiser's layers had where its model was first published, beside diffusers' own.

LDM's and SGM's for the UNets of Stable Diffusion and SDXL, Lumina's for Z-Image. Trainers and other programs write both.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

_UNET_ENDS: Mapping[str, str] = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
}
_RESNET: Mapping[str, str] = {
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)")


def of_unet(names: Collection[str], layers_per_block: int) -> dict[str, str]:
    """Return diffusers' names of a UNet's layers by their first names.

    Args:
        names: Layers that have weights, by diffusers' names.
        layers_per_block: Of the UNet's config.
    """
    attentive = {name.partition(".attentions.")[0] for name in names if ".attentions." in name}
    return {first: name for name in names if (first := _unet(name, layers_per_block + 1, attentive))}


def of_z_image(names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return diffusers' names of a Z-Image transformer's layers by their first names.

    Queries, keys and values, which are three layers in diffusers, were one.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name in names:
        block, fused, _ = name.partition(".attention.to_q")
        if fused:
            found[f"{block}.attention.qkv"] = tuple(f"{block}.attention.to_{which}" for which in "qkv")
        first = name.replace("attention.to_out.0", "attention.out")
        first = re.sub(r"^all_(x_embedder|final_layer)\.[\d-]+", r"\1", first)
        if first != name:
            found[first] = (name,)
    return found


def _unet(name: str, layers: int, attentive: Collection[str]) -> str:
    """Return LDM's name; empty for a layer that it has no name for. ``attentive`` blocks have a layer more each."""
    if name in _UNET_ENDS:
        return _UNET_ENDS[name]
    if (found := _MIDDLE.fullmatch(name)) is not None:
        which, index, rest = found.groups()
        return f"middle_block.1.{rest}" if which == "attentions" else f"middle_block.{2 * int(index)}.{_resnet(rest)}"
    if (found := _BLOCK.fullmatch(name)) is None:
        return ""
    way, block, which, index, rest = found.groups()
    if which == "downsamplers":
        return f"input_blocks.{(int(block) + 1) * layers}.0.{rest.replace('conv', 'op')}"
    if which == "upsamplers":
        place = 2 if f"up_blocks.{block}" in attentive else 1
        return f"output_blocks.{(int(block) + 1) * layers - 1}.{place}.{rest}"
    at = int(block) * layers + int(index)
    first = f"input_blocks.{at + 1}" if way == "down" else f"output_blocks.{at}"
    return f"{first}.0.{_resnet(rest)}" if which == "resnets" else f"{first}.1.{rest}"


def _resnet(rest: str) -> str:
    return _RESNET.get(rest, rest)


def of(family: str, model: Any, names: Collection[str]) -> Mapping[str, tuple[str, ...]]:
    """Return diffusers' names of a denoiser's layers by their first names.

    Args:
        family: Which family the denoiser is of.
        model: Its module, whose config is asked.
        names: Its layers that have weights.
    """
    if family == "z_image":
        return of_z_image(names)
    return {first: (name,) for first, name in of_unet(names, int(model.config.layers_per_block)).items()}
