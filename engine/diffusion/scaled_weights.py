"""Reads weights that are stored with scales: ComfyUI's scaled fp8, and its comfy_quant layers in fp8 and int8.

The key names and formats are those of ComfyUI (``convert_old_quants`` in ``comfy/utils.py``, ``comfy/quant_ops.py``) and of
comfy-kitchen (``comfy_kitchen/tensor``, version 0.2.40). Weights are dequantised when they are loaded, since a LoRA and
the memory plan need them in a common format.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from engine.contract import UnknownModel
from engine.weights import TensorInfo, header

_METADATA = "_quantization_metadata"
"""Metadata key with the formats of all layers, which other files have in a tensor ``comfy_quant`` of each layer."""

_PREFIX = "model.diffusion_model."
"""Prefix of a denoiser's keys, which the metadata may leave out."""

_MARKER = "scaled_fp8"
"""Last component of the tensor that marks the older form; it holds no numbers that matter."""

_SCALE = re.compile(r"(?P<layer>.+)\.(?:weight_scale|scale_weight)")
_OF_INPUTS = ("input_scale", "scale_input")
"""Scales for computing in fp8. Easel computes in a wider format, which needs none."""

_KNOWN = frozenset({"weight", "bias", "weight_scale", "scale_weight", "comfy_quant", *_OF_INPUTS})
"""Last component of the keys of a scaled layer; another tensor might change its weights."""

_DTYPES: Mapping[str, str] = {"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "int8_tensorwise": "I8"}
"""The formats that are read, and the dtype of their weights as safetensors names it."""

_OPTIONS = frozenset(
    {"format", "full_precision_matrix_mult", "convrot", "convrot_groupsize", "params", "orig_dtype", "orig_shape"}
)
"""What a layer's description may say; another option might change the weights."""

_GROUP = 256
"""Columns that are rotated together where the description does not say it."""

_MOST_BYTES = 4096
"""Largest description of one layer."""

_OTHERWISE = "get it in bf16, in another fp8 or as .gguf"


@dataclass(frozen=True, slots=True)
class ScaledWeight:
    """How one weight is stored.

    Attributes:
        scale: Key of its scale: one number, or one for each row.
        group: Columns that were rotated together before quantising (ConvRot); 0: not rotated.
    """

    scale: str
    group: int = 0


def read_scales(path: Path, tensors: Mapping[str, TensorInfo]) -> Mapping[str, ScaledWeight]:
    """Return the weights of a ``.safetensors`` file that have a scale, by key; empty where there are none.

    Args:
        path: The file.
        tensors: Its header.

    Raises:
        UnknownModel: A layer is in a format that can't be read, or its scale does not fit it.
    """
    described = _descriptions(path, tensors)
    scales: dict[str, str] = {}
    for name in tensors:
        if (match := _SCALE.fullmatch(name)) is not None:
            if match["layer"] in scales:
                raise UnknownModel(f"The model's file {path} has the scale of {match['layer']} twice; {_OTHERWISE}.")
            scales[match["layer"]] = name
    found = {
        f"{layer}.weight": _scaled(path, tensors, layer, scales.get(layer, ""), described.get(layer))
        for layer in sorted(scales.keys() | described.keys())
    }
    for name in tensors:
        layer, _, last = name.rpartition(".")
        if f"{layer}.weight" in found and last not in _KNOWN:
            raise UnknownModel(
                f"The model's file {path} has scaled weights ({name[:80]}) in a form that can't be read; {_OTHERWISE}."
            )
    return found


def plain_header(tensors: Mapping[str, TensorInfo], scaled: Mapping[str, ScaledWeight]) -> Mapping[str, TensorInfo]:
    """Return the header that a file would have without scales, so that what is left over can be found."""
    dropped = _consumed(tensors, scaled)
    return {
        name: TensorInfo("F32", tensor.shape) if name in scaled else tensor
        for name, tensor in tensors.items()
        if name not in dropped
    }


def load(path: Path, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the tensors of a ``.safetensors`` file; weights with a scale are dequantised to ``dtype``.

    Other tensors are as they are in the file, and mapped into memory.
    """
    tensors = header(path)
    scaled = read_scales(path, tensors)
    dropped = _consumed(tensors, scaled)
    with safe_open(path, "pt") as file:
        found = {name: file.get_tensor(name) for name in tensors if name not in dropped}
        for name, how in scaled.items():
            found[name] = dequantised(found[name], file.get_tensor(how.scale), how.group).to(dtype)
    return found


def dequantised(weight: Tensor, scale: Tensor, group: int = 0) -> Tensor:
    """Return a weight in float32.

    Args:
        weight: (rows, ...) in fp8 or int8.
        scale: One number, or one for each row.
        group: Columns that were rotated together; 0: none were.
    """
    wide = weight.float() * scale.float().reshape(-1, *[1] * (weight.dim() - 1))
    if group:
        wide = (wide.reshape(len(wide), -1, group) @ rotation(group)).reshape(wide.shape)
    return wide


def rotation(size: int) -> Tensor:
    """Return ConvRot's rotation, (size, size): a regular Hadamard matrix. It is symmetric, and so its own inverse.

    Args:
        size: A power of 4.
    """
    four = torch.ones(4, 4) - 2 * torch.eye(4).flip(0)
    found = four
    while len(found) < size:
        found = torch.kron(found, four)
    return found / math.sqrt(size)


def _consumed(tensors: Mapping[str, TensorInfo], scaled: Mapping[str, ScaledWeight]) -> frozenset[str]:
    """Return the keys that describe the scaled weights and are no weights."""
    layers = {name.removesuffix(".weight") for name in scaled}
    beside = {f"{layer}.{last}" for layer in layers for last in ("comfy_quant", *_OF_INPUTS)}
    marks = {name for name in tensors if scaled and name.rpartition(".")[2] == _MARKER}
    return frozenset((beside & tensors.keys()) | marks | {how.scale for how in scaled.values()})


def _descriptions(path: Path, tensors: Mapping[str, TensorInfo]) -> Mapping[str, Any]:
    """Return the description of each layer that has one, by the layer's name in the file."""
    found: dict[str, Any] = {}
    with safe_open(path, "pt") as file:
        layers = _parsed(path, (file.metadata() or {}).get(_METADATA, "{}")).get("layers", {})
        for layer, described in layers.items() if isinstance(layers, dict) else ():
            # A layer that the file does not have was taken out by a tool that left the metadata as it was.
            if name := next((n for n in (layer, _PREFIX + layer) if f"{n}.weight" in tensors), ""):
                found[name] = described
        for name, tensor in tensors.items():
            layer, _, last = name.rpartition(".")
            if last == "comfy_quant":
                short = tensor.dtype == "U8" and tensor.count <= _MOST_BYTES
                found[layer] = _parsed(path, bytes(file.get_tensor(name).tolist()) if short else "")
    return found


def _parsed(path: Path, text: str | bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UnknownModel(f"The model's file {path} describes its quantised weights in a way that can't be read.")
    return found


def _scaled(path: Path, tensors: Mapping[str, TensorInfo], layer: str, scale: str, described: Any) -> ScaledWeight:
    """Return how a layer's weight is stored; raise UnknownModel where it can't be read."""
    weight = tensors.get(f"{layer}.weight")
    if weight is None:
        raise UnknownModel(f"The model's file {path} has a scale for {layer[:80]} and no weight; download it again.")
    if described is None:  # the older form, which knows fp8 alone
        described = {"format": next((name for name, dtype in _DTYPES.items() if dtype == weight.dtype), weight.dtype)}
        if described["format"] not in ("float8_e4m3fn", "float8_e5m2"):
            raise UnknownModel(
                f"The model's file {path} has scaled weights in {weight.dtype} without their format ({layer[:80]}), "
                f"which can't be read; {_OTHERWISE}."
            )
    given = described if isinstance(described, dict) else {}
    name, group = str(given.get("format")), _group(given)
    unknown = sorted(given.keys() - _OPTIONS)
    if name not in _DTYPES or unknown or group is None:
        what = f"the format {name[:40]!r}" if name not in _DTYPES else f"{name} with {(unknown or ['convrot'])[0][:40]}"
        raise UnknownModel(
            f"The model's file {path} has weights in ComfyUI's {what} ({layer[:80]}), which can't be read; {_OTHERWISE}."
        )
    if weight.dtype != _DTYPES[name]:
        raise UnknownModel(
            f"The model's file {path} calls {layer[:80]} {name}, and it is in {weight.dtype}; download it again."
        )
    if not scale:
        raise UnknownModel(
            f"The model's file {path} has no scale for {layer[:80]}, which is in {name}; download it again."
        )
    rows, columns = weight.shape[0] if weight.shape else 0, weight.shape[-1] if weight.shape else 0
    if tensors[scale].count not in (1, rows) or (group and (len(weight.shape) != 2 or columns % group)):
        raise UnknownModel(
            f"The model's file {path} has scales for blocks of {layer[:80]}, which can't be read; {_OTHERWISE}."
        )
    return ScaledWeight(scale, group)


def _group(described: Mapping[str, Any]) -> int | None:
    """Return the columns that were rotated together, 0 for none; None where the description makes no sense."""
    params = described.get("params")
    given = (params if isinstance(params, dict) else {}) | dict(described)
    if not given.get("convrot", False):
        return 0
    size = given.get("convrot_groupsize", _GROUP)
    powers = {4**n for n in range(1, 8)}
    return size if isinstance(size, int) and size in powers and given.get("format") == "int8_tensorwise" else None
