"""Builds what a LoRA changes at one layer from the tensors of its file, in the form that they are named after.

Definitions: LoRA arXiv 2106.09685, DoRA arXiv 2402.09353; LoCon, LoHa and LoKr as LyCORIS 3 has them (arXiv 2309.14859).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from peft.utils.other import get_pattern_key
from torch import Tensor

from engine.contract import UnknownModel
from engine.diffusion.lora_deltas import Delta, Full, Geometry, Hadamard, Kronecker, LayerDelta, LowRank

METADATA = "lora_adapter_metadata"
"""Metadata key under which diffusers writes peft's configuration, alphas included."""

_LOW_RANK = frozenset({"down", "up", "mid", "up_bias"})
_HADAMARD = frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"})
_KRONECKER = frozenset({"lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"})
_FULL = frozenset({"diff", "diff_b"})


@dataclass(slots=True)
class LayerTensors:
    """The tensors of one layer and their keys in the file, by slot (``down``, ``up``, ``alpha``, ``lokr_w1``, ...)."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def first(self) -> str:
        """The first of the keys, which messages name."""
        return min(self.keys.values())


def layer_delta(layer: LayerTensors, config: Mapping[str, Any], target: str, shape: Geometry) -> LayerDelta:
    """Return what a LoRA changes at one layer.

    Args:
        layer: The tensors of the file.
        config: peft's configuration from the file's metadata; empty if there is none.
        target: The layer's name in the pipeline.
        shape: The layer's geometry.

    Raises:
        UnknownModel: A tensor is missing or can't be applied. The message begins in small letters.
    """
    found = dict(layer.tensors)
    alpha = _number(found.pop("alpha"), layer.keys["alpha"]) if "alpha" in found else None
    magnitude, by_input = _magnitude(layer, found, shape)
    forms = [form for form in (_LOW_RANK, _HADAMARD, _KRONECKER, _FULL) if form & found.keys()]
    if len(forms) > 1:
        raise UnknownModel(f"its weight {layer.first} and those of the same layer are of two forms")
    form = forms[0] if forms else _LOW_RANK
    delta: Delta | None
    try:
        if form is _HADAMARD:
            delta, rank = _hadamard(layer, found, shape)
        elif form is _KRONECKER:
            delta, rank = _kronecker(layer, found, shape)
        elif form is _FULL:
            delta, rank = _full(found, shape), 0
        else:
            delta, rank = _low_rank(layer, found, shape)
        fits = delta is None or delta.shape == shape.shape
    except (RuntimeError, IndexError, ValueError):  # factors that can't be multiplied with each other
        raise UnknownModel(f"its weight {layer.first} and those that go with it do not fit each other") from None
    if not fits:
        key, own = _strange(layer, found, shape)
        raise UnknownModel(f"its weight {key} has the shape {own}, and the layer {target} is {list(shape.shape)}")
    if alpha is None:
        scale = _configured(config, target, rank) if form is _LOW_RANK else 1.0
    else:
        scale = alpha / rank if rank else 1.0
    bias = found.get("up_bias", found.get("diff_b"))
    if bias is not None and bias.shape != shape.shape[:1]:
        raise UnknownModel(f"its bias for the layer {target} has the shape {list(bias.shape)}")
    if magnitude is not None and delta is None:
        raise UnknownModel(f"its weight {layer.first} is one of a pair, and the other is not there")
    if bias is not None and "up_bias" in found:
        bias = bias.float() * scale
    return LayerDelta(delta, scale, bias, magnitude, by_input)


def _magnitude(layer: LayerTensors, found: dict[str, Tensor], shape: Geometry) -> tuple[Tensor | None, bool]:
    """Take DoRA's magnitudes out of the tensors; return them as a vector, and whether they are one for each input.

    LyCORIS and sd-scripts write ``dora_scale`` as (outputs, 1, ...) or (1, inputs, ...), by their option
    ``dora_wd_on_out``; peft writes ``lora_magnitude_vector``, one for each output.
    """
    if "lora_magnitude_vector" in found:
        vector = found.pop("lora_magnitude_vector")
        name, by_input = "lora_magnitude_vector", False
    elif "dora_scale" in found:
        vector = found.pop("dora_scale")
        name = "dora_scale"
        by_input = vector.dim() > 1 and vector.shape[0] == 1 and vector.numel() == vector.shape[1]
        if by_input and vector.shape[1] != shape.shape[1] and vector.shape[1] == shape.shape[0]:
            by_input = False
    else:
        return None, False
    if vector.numel() != shape.shape[1 if by_input else 0]:
        raise UnknownModel(
            f"its weight {layer.keys[name]} is DoRA of the shape {list(vector.shape)}, and the layer is {list(shape.shape)}"
        )
    return vector.flatten(), by_input


def _low_rank(layer: LayerTensors, found: Mapping[str, Tensor], shape: Geometry) -> tuple[LowRank, int]:
    if "down" not in found or "up" not in found:
        raise UnknownModel(f"its weight {layer.first} is one of a pair, and the other is not there")
    down, up, mid = found["down"], found["up"], found.get("mid")
    rank = down.shape[0] if down.dim() > 1 else 0
    if not rank or up.dim() < 2 or up.shape[1] != rank or up[0, 0].numel() != 1:
        raise UnknownModel(f"its weight {layer.first} and the one that goes with it do not fit each other")
    if mid is not None and (
        not shape.kernel or mid.dim() != 4 or mid.shape[:2] != (rank, rank) or down[0, 0].numel() != 1
    ):
        raise UnknownModel(f"its weight {layer.keys['mid']} can't be applied to the layer")
    # A 1x1 convolution and a linear layer are equivalent.
    if shape.kernel and down.dim() == 2:
        down = down[:, :, None, None]
    elif not shape.kernel and down.dim() == 4 and down.shape[2:] == (1, 1):
        down = down.flatten(1)
    return LowRank(down, up.flatten(1), mid), rank


def _hadamard(layer: LayerTensors, found: Mapping[str, Tensor], shape: Geometry) -> tuple[Hadamard, int]:
    names = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
    cores = tuple(found[name] for name in ("hada_t1", "hada_t2") if name in found)
    if not all(name in found for name in names) or len(cores) == 1:
        raise UnknownModel(f"its weight {layer.first} is a factor, and not all of the others are there")
    a, b, c, d = (found[name] for name in names)
    delta = Hadamard((a, b), (c, d), shape.kernel, cores)
    if not cores:
        _check_product(a, b)
        _check_product(c, d)
    return delta, b.shape[0]


def _kronecker(layer: LayerTensors, found: Mapping[str, Tensor], shape: Geometry) -> tuple[Kronecker, int]:
    sides: list[tuple[Tensor, ...]] = []
    for side in ("lokr_w1", "lokr_w2"):
        if found.keys() & {side, f"{side}_a", f"{side}_b"} not in ({side}, {f"{side}_a", f"{side}_b"}):
            raise UnknownModel(f"its weight {layer.first} is a factor, and not all of the others are there")
        sides.append((found[side],) if side in found else (found[f"{side}_a"], found[f"{side}_b"]))
    left, right = sides
    core = found.get("lokr_t2")
    if core is None:
        for factors in sides:
            _check_product(*factors)
    elif len(right) == 1:
        raise UnknownModel(f"its weight {layer.keys['lokr_t2']} is a factor, and not all of the others are there")
    if len(right) == 1 and right[0].dim() == 4 and not shape.kernel:
        right = (right[0].flatten(1),)
    # Two whole factors include the scale.
    rank = next((factors[1].shape[0] for factors in (right, left) if len(factors) > 1), 0)
    return Kronecker(left, right, shape.kernel, core), rank


def _full(found: Mapping[str, Tensor], shape: Geometry) -> Full | None:
    weight = found.get("diff")
    if weight is None:
        return None
    # A 1x1 convolution and a linear layer are equivalent.
    return Full(
        weight.reshape(shape.shape)
        if weight.shape[:2] == shape.shape[:2] and weight.numel() == math.prod(shape.shape)
        else weight
    )


def _check_product(*factors: Tensor) -> None:
    """Raise ValueError where two factors can't be multiplied."""
    if len(factors) == 2 and factors[0].shape[-1] != factors[1].shape[0]:
        raise ValueError


def _strange(layer: LayerTensors, found: Mapping[str, Tensor], shape: Geometry) -> tuple[str, list[int]]:
    """Return the key and the shape of the tensor that keeps a delta from its layer."""
    slots = [slot for slot in ("up", "diff", "hada_w1_a", "lokr_w1", "lokr_w1_a") if slot in found]
    if "up" in found and found["up"].shape[0] == shape.shape[0]:
        slots = ["down"]
    slot = slots[0] if slots else next(iter(found))
    return layer.keys[slot], list(found[slot].shape)


def _configured(config: Mapping[str, Any], target: str, rank: int) -> float:
    """Return a layer's scale from peft's configuration; 1 where there is none."""
    if not config:
        return 1.0
    patterns: dict[str, Any] = config.get("alpha_pattern") or {}
    try:
        alpha = float(patterns.get(get_pattern_key(list(patterns), target), config.get("lora_alpha", 8)))
    except (AttributeError, TypeError, ValueError, re.error) as e:
        raise UnknownModel(f"its metadata {METADATA} can't be read") from e
    # Rank-stabilised LoRA, arXiv 2312.03732.
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _number(tensor: Tensor, key: str) -> float:
    if tensor.numel() != 1 or not math.isfinite(found := float(tensor)):
        raise UnknownModel(f"its weight {key} is no number")
    return found


def same(one: LayerDelta, other: LayerDelta) -> bool:
    """Whether two changes of a layer are equal."""
    if one is other:
        return True
    pairs = ((one.bias, other.bias), (one.magnitude, other.magnitude), (_dense(one), _dense(other)))
    return one.by_input == other.by_input and all(
        (a is None) == (b is None) and (a is None or b is None or torch.allclose(a.float(), b.float(), atol=1e-4))
        for a, b in pairs
    )


def _dense(layer: LayerDelta) -> Tensor | None:
    return None if layer.delta is None else layer.delta.dense() * layer.scale
