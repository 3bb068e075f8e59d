"""Single files in the layout that models were first published in (LDM for v1.5, SGM for SDXL), from small pipelines.

The names are those that diffusers' conversion reads, in the opposite direction.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}

_FLUX2 = {
    "time_guidance_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_guidance_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "double_stream_modulation_img.linear": "double_stream_modulation_img.lin",
    "double_stream_modulation_txt.linear": "double_stream_modulation_txt.lin",
    "single_stream_modulation.linear": "single_stream_modulation.lin",
    "context_embedder": "txt_in",
    "x_embedder": "img_in",
    "proj_out": "final_layer.linear",
    "attn.to_qkv_mlp_proj": "linear1",
    "attn.to_add_out": "txt_attn.proj",
    "ff_context.linear_in": "txt_mlp.0",
    "ff_context.linear_out": "txt_mlp.2",
    "ff.linear_in": "img_mlp.0",
    "ff.linear_out": "img_mlp.2",
}


def single_file(pipe: Any, path: Path) -> Path:
    """Write the whole pipeline (SD 1.5 or SDXL) as one file."""
    tensors = {f"model.diffusion_model.{k}": v for k, v in unet(pipe.unet).items()}
    tensors |= {f"first_stage_model.{k}": v for k, v in vae(pipe.vae).items()}
    if getattr(pipe, "text_encoder_2", None) is None:
        tensors |= _prefixed(pipe.text_encoder, "cond_stage_model.transformer.text_model.")
    else:
        tensors |= _prefixed(pipe.text_encoder, "conditioner.embedders.0.transformer.text_model.")
        tensors |= {f"conditioner.embedders.1.model.{k}": v for k, v in open_clip(pipe.text_encoder_2).items()}
    save_file({k: v.contiguous() for k, v in tensors.items()}, path)
    return path


def unet(model: Any) -> dict[str, Tensor]:
    """Return a UNet's weights under LDM's names."""
    layers = model.config.layers_per_block + 1
    attentive = {name.rpartition(".attentions")[0] for name in model.state_dict() if ".attentions." in name}
    return {unet_name(k, layers, attentive): v for k, v in model.state_dict().items()}


def vae(model: Any) -> dict[str, Tensor]:
    """Return a VAE's weights under LDM's names."""
    last = len(model.config.block_out_channels) - 1
    found = {}
    for key, tensor in model.state_dict().items():
        name = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", key)
        name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
        name = re.sub(r"up_blocks\.(\d+)\.resnets\.", lambda m: f"up.{last - int(m[1])}.block.", name)
        name = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{last - int(m[1])}.upsample", name)
        name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
        name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        if "mid_block.attentions.0." in name:
            name = _renamed(name.replace("mid_block.attentions.0", "mid.attn_1"), _VAE_ATTENTION)
            # Attention was stored as convolutions of one pixel.
            found[name] = tensor[:, :, None, None] if tensor.dim() == 2 else tensor
        else:
            found[name] = tensor
    return found


def open_clip(model: Any) -> dict[str, Tensor]:
    """Return a CLIPTextModelWithProjection's weights under OpenCLIP's names."""
    state = {k.removeprefix("text_model."): v for k, v in model.state_dict().items()}
    found = {
        "positional_embedding": state.pop("embeddings.position_embedding.weight"),
        "token_embedding.weight": state.pop("embeddings.token_embedding.weight"),
        "ln_final.weight": state.pop("final_layer_norm.weight"),
        "ln_final.bias": state.pop("final_layer_norm.bias"),
        "text_projection": state.pop("text_projection.weight").T,
    }
    state.pop("embeddings.position_ids", None)
    for key in [k for k in state if ".q_proj." in k]:
        block, _, kind = key.partition(".self_attn.q_proj.")
        joined = [state.pop(f"{block}.self_attn.{which}_proj.{kind}") for which in "qkv"]
        found[f"transformer.resblocks.{block.split('.')[-1]}.attn.in_proj_{kind}"] = torch.cat(joined)
    names = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    for key, tensor in state.items():
        name = _renamed(key.replace("encoder.layers.", "transformer.resblocks."), names)
        found[name.replace("self_attn.out_proj", "attn.out_proj")] = tensor
    return found


def z_image(model: Any) -> dict[str, Tensor]:
    """Return a Z-Image transformer's weights under the names that they were published with: q, k and v in one."""
    found: dict[str, Tensor] = {}
    state = model.state_dict()
    for key, tensor in state.items():
        name = key.replace("all_final_layer.2-1.", "final_layer.").replace("all_x_embedder.2-1.", "x_embedder.")
        name = name.replace("attention.norm_q", "attention.q_norm").replace("attention.norm_k", "attention.k_norm")
        name = name.replace("attention.to_out.0", "attention.out")
        if ".attention.to_q." in name:
            joined = [state[key.replace(".to_q.", f".to_{which}.")] for which in "qkv"]
            found[name.replace(".to_q.", ".qkv.")] = torch.cat(joined)
        elif ".attention.to_k." not in name and ".attention.to_v." not in name:
            found[name] = tensor
    return found


def flux2(model: Any) -> dict[str, Tensor]:
    """Return a FLUX.2 transformer's weights under the names that they were published with: q, k and v in one."""
    found: dict[str, Tensor] = {}
    state = model.state_dict()
    for key, tensor in state.items():
        if key == "norm_out.linear.weight":
            scale, shift = tensor.chunk(2)
            found["final_layer.adaLN_modulation.1.weight"] = torch.cat([shift, scale])
            continue
        name = key.replace("single_transformer_blocks.", "single_blocks.").replace(
            "transformer_blocks.", "double_blocks."
        )
        for new, old in _FLUX2.items():
            name = name.replace(new, old)
        if name.startswith("single_blocks."):
            name = name.replace(".attn.to_out.", ".linear2.").replace(".attn.norm_", ".norm.norm_")
        else:
            name = name.replace(".attn.to_out.0.", ".img_attn.proj.").replace(
                ".attn.norm_added_", ".txt_attn.norm.norm_"
            )
            name = name.replace(".attn.norm_", ".img_attn.norm.norm_")
        name = name.replace(".norm.norm_q.weight", ".norm.query_norm.scale").replace(
            ".norm.norm_k.weight", ".norm.key_norm.scale"
        )
        whole = tensor
        for first, parts, joined in (
            ("to_q", ("to_q", "to_k", "to_v"), "img_attn.qkv"),
            ("add_q_proj", ("add_q_proj", "add_k_proj", "add_v_proj"), "txt_attn.qkv"),
        ):
            if f".attn.{first}." in name:
                name = name.replace(f"attn.{first}", joined)
                whole = torch.cat([state[key.replace(f".{first}.", f".{part}.")] for part in parts])
        if not any(f".attn.{part}." in name for part in ("to_k", "to_v", "add_k_proj", "add_v_proj")):
            found[name] = whole
    return found


def unet_name(key: str, layers: int, attentive: Iterable[str]) -> str:
    """Return LDM's name of a UNet's weight; ``attentive`` are the blocks with attention, which shifts what follows it."""
    for new, old in _UNET_ENDS.items():
        if key.startswith(f"{new}."):
            return old + key.removeprefix(new)
    if (found := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", key)) is not None:
        which, index, rest = found.groups()
        return (
            f"middle_block.1.{rest}"
            if which == "attentions"
            else f"middle_block.{2 * int(index)}.{_renamed(rest, _RESNET)}"
        )
    found = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)", key)
    assert found is not None, key
    way, block, which, index, rest = found.groups()
    if which == "downsamplers":
        return f"input_blocks.{(int(block) + 1) * layers}.0.op.{rest.removeprefix('conv.')}"
    if which == "upsamplers":
        place = 2 if f"up_blocks.{block}" in attentive else 1
        return f"output_blocks.{(int(block) + 1) * layers - 1}.{place}.{rest}"
    at = int(block) * layers + int(index)
    name = f"input_blocks.{at + 1}" if way == "down" else f"output_blocks.{at}"
    return f"{name}.0.{_renamed(rest, _RESNET)}" if which == "resnets" else f"{name}.1.{rest}"


def _prefixed(model: Any, prefix: str) -> dict[str, Tensor]:
    return {prefix + k.removeprefix("text_model."): v for k, v in model.state_dict().items()}


def _renamed(name: str, names: Mapping[str, str]) -> str:
    for new, old in names.items():
        name = re.sub(rf"(^|\.){re.escape(new)}(\.|$)", rf"\g<1>{old}\g<2>", name)
    return name
