"""Reads a LoRA. Every tensor of its file must belong to a layer of the pipeline, or the file is refused.

The libraries guess layers from names, drop unknown tensors, and misread alphas that differ between layers. Here names
are looked up in the pipeline itself, alphas are multiplied into the weights, and the result is checked after loading.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import get_pattern_key
from safetensors import safe_open
from torch import Tensor, nn

from engine.contract import UnknownModel
from engine.families.registry import model_class, spec_of
from engine.families.spec import TEXT_ENCODER

_METADATA = "lora_adapter_metadata"
"""Metadata key under which diffusers writes peft's configuration, alphas included."""

_MATRIX = re.compile(
    r"(?P<layer>.+?)(?:[._]lora[._](?P<which>down|up|A|B)|\.lora_linear_layer\.(?P<linear>down|up))"
    r"(?:\.default)?\.(?P<kind>weight|bias)"
)
_OTHER = re.compile(
    r"(?P<layer>.+?)\.(?P<which>alpha|lora_magnitude_vector|lokr_w[12](?:_[ab])?)(?:\.default)?(?:\.weight)?"
)
_SLOTS: Mapping[str, str] = {"down": "A", "A": "A", "up": "B", "B": "B"}

_PREFIXES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"lora_te2_"), "text_encoder_2"),
    (re.compile(r"lora_te1?_"), "text_encoder"),
    (re.compile(r"(?:base_model\.model\.)?text_encoder_2\."), "text_encoder_2"),
    (re.compile(r"(?:base_model\.model\.)?text_encoder\."), "text_encoder"),
    (re.compile(r"(?:lora_(?:unet|transformer)_|(?:base_model\.model\.)?(?:(?:model\.)?diffusion_model|unet|transformer)\.|base_model\.model\.)?"), ""),
)  # fmt: skip
"""Prefix of a layer's name and the part that the layer is in; empty for the denoiser."""

_UNUSABLE: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"dora_scale|magnitude_vector"), "DoRA in a form that can't be loaded"),
    (re.compile(r"lokr_|hada_|oft_|lora_mid|lora_t[12]\b|glora|\bdiff(?:_b)?\b|\bw_norm\b|\bb_norm\b"), "LyCORIS of a kind that can't be loaded"),
    (re.compile(r"bundle_emb|string_to_param|emb_params|^clip_[lg]$"), "an embedding, which is no part of a LoRA"),
)  # fmt: skip


@dataclass(slots=True)
class _Layer:
    """The tensors of one layer and their keys in the file, by slot (``A``, ``B``, ``alpha``, ...)."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def first(self) -> str:
        """The first of the keys, which messages name."""
        return min(self.keys.values())


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA under the names of the pipeline's layers.

    Attributes:
        weights: Its tensors by part, layer and slot (``unet.conv_in.lora_A.weight``), with alphas multiplied in.
        names: The names that peft gives to the same tensors, for each part.
    """

    weights: Mapping[str, Tensor]
    names: Mapping[str, Collection[str]]


def read(path: Path, pipe: Any, family: str) -> Adapter:
    """Return a LoRA for a pipeline.

    Args:
        path: A ``.safetensors`` file.
        pipe: The pipeline, whose layers are looked up.
        family: Name of the pipeline's family.

    Raises:
        UnknownModel: A tensor can't be applied. The message says which and why.
    """
    spec = spec_of(family)
    with safe_open(path, "pt") as file:
        adapter_config = _metadata((file.metadata() or {}).get(_METADATA))
        tensors = {key: _wide(file.get_tensor(key)) for key in file.keys()}  # noqa: SIM118  # it is no mapping
    parts = {part: getattr(pipe, part) for part in spec.lora_parts}
    modules = {part: _modules(model) for part, model in parts.items()}
    tables = {part: _table(family, part, parts[part], modules[part]) for part in parts}
    layers, unknown = _sorted(tensors, tables, spec.denoiser)
    if unknown:
        _refuse(unknown, len(tensors))
    whole: dict[tuple[str, str], dict[str, Tensor]] = {}
    fused: list[tuple[str, tuple[str, ...], dict[str, Tensor]]] = []
    for (part, name), layer in layers.items():
        targets = tables[part][name]
        config = {
            key.removeprefix(f"{part}."): adapter_config[key] for key in adapter_config if key.startswith(f"{part}.")
        }
        found = _strong(layer, config, targets[0], kron=spec.lokr)
        if len(targets) > 1:
            if found.keys() != {"A", "B"}:
                raise UnknownModel(f"its weight {layer.first} is for three layers at once and can't be split")
            fused.append((part, targets, found))
        elif (part, targets[0]) in whole:
            raise UnknownModel(f"it has the layer {targets[0]} twice, under two names")
        else:
            module = modules[part][targets[0]]
            if "A" not in found and tuple(module.weight.shape) != (module.out_features, module.in_features):
                raise UnknownModel(
                    "a LoKr can't be added to weights in GGUF or nf4; take the model in another form, or a LoRA"
                )
            whole[part, targets[0]] = {slot: _shaped(slot, tensor, module) for slot, tensor in found.items()}
    for part, targets, found in fused:
        for target, one in _split(found, targets, [modules[part][target].out_features for target in targets]):
            # Some trainers write both the fused and the split layers.
            if not _same(whole.setdefault((part, target), one), one):
                raise UnknownModel(f"it has the layer {target} twice, with other weights")
    _check_magnitudes(whole)
    return _adapter(whole)


def check_added(pipe: Any, family: str, name: str, adapter: Adapter) -> None:
    """Check that every tensor of a LoRA that was loaded as ``name`` is in the pipeline, at full strength.

    Raises:
        UnknownModel: One is not. The message says which.
    """
    for part in spec_of(family).lora_parts:
        model = getattr(pipe, part)
        wanted = set(adapter.names.get(part, ()))
        held = {
            re.sub(rf"\.{name}(?=\.|$)", "", key)
            for key, value in model.named_parameters()
            if f".{name}." in f"{key}." and not value.is_meta
        }
        if strange := sorted(wanted ^ held):
            raise UnknownModel(f"{len(strange)} of its weights were not applied to the {part}, among them {strange[0]}")
        for key, module in model.named_modules():
            if isinstance(module, BaseTunerLayer) and not math.isclose(_scaling(module, name), 1.0):
                raise UnknownModel(f"its strength at the layer {key} of the {part} was misread")


def _scaling(layer: Any, name: str) -> float:
    return float(layer.scaling.get(name, 1.0))


def _modules(model: nn.Module) -> dict[str, Any]:
    """Return the layers that a LoRA may change, by their names without the wrappers of other LoRAs."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and not re.search(r"\.(?:lora_|lokr_)", name):
            found[name.removesuffix(".base_layer")] = module
    return found


def _table(family: str, part: str, model: nn.Module, names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return a part's layers by every name that a LoRA may use for them, with underscores for dots."""
    found: dict[str, tuple[str, ...]] = {}
    if part.startswith(TEXT_ENCODER):
        for name in names:
            bare = name.removeprefix("text_model.")
            old = re.sub(r"([qkv])_proj$", r"to_\1", re.sub(r"out_proj$", "to_out", bare))
            found |= {_flat(form): (name,) for form in (bare, f"text_model.{bare}", old, f"text_model.{old}")}
        return found
    found |= {_flat(first): theirs for first, theirs in model_class(family).original_layer_names(model, names).items()}
    for name in names:
        found |= {_flat(form): (name,) for form in (name, re.sub(r"to_out\.0$", "to_out", name))}
    return found


def _flat(name: str) -> str:
    return name.replace(".processor.", ".").replace(".", "_")


def _sorted(
    tensors: Mapping[str, Tensor], tables: Mapping[str, Mapping[str, tuple[str, ...]]], denoiser: str
) -> tuple[dict[tuple[str, str], _Layer], list[str]]:
    """Return the file's tensors by part and layer, and the keys that belong to no layer."""
    layers: dict[tuple[str, str], _Layer] = {}
    unknown = []
    for key, tensor in tensors.items():
        slot = ""
        if (found := _MATRIX.fullmatch(key)) is not None:
            slot = _SLOTS[found["which"] or found["linear"]] + ("" if found["kind"] == "weight" else "_bias")
        elif (found := _OTHER.fullmatch(key)) is not None:
            slot = found["which"]
        place = _place(found["layer"], tables, denoiser) if found is not None and slot != "A_bias" else None
        if place is None:
            unknown.append(key)
            continue
        layer = layers.setdefault(place, _Layer())
        if slot in layer.tensors:
            raise UnknownModel(f"its weight {key} is there twice, also as {layer.keys[slot]}")
        layer.tensors[slot], layer.keys[slot] = tensor, key
    return layers, unknown


def _place(layer: str, tables: Mapping[str, Mapping[str, tuple[str, ...]]], denoiser: str) -> tuple[str, str] | None:
    for prefix, part in _PREFIXES:
        if (begin := prefix.match(layer)) is not None:
            place = (part or denoiser, _flat(layer[begin.end() :]))
            return place if place[1] in tables.get(place[0], {}) else None
    return None


def _refuse(keys: list[str], total: int) -> None:
    first, why = keys[0], "a layer that the model does not have"
    for pattern, kind in _UNUSABLE:
        if (found := next(filter(pattern.search, keys), None)) is not None:
            first, why = found, kind
            break
    else:
        if re.match(r"lora_te|text_encoder", first):
            why = "of a text encoder that takes no LoRA, or a layer that it does not have"
    raise UnknownModel(f"{len(keys)} of its {total} weights can't be applied, among them {first!r} ({why})")


def _wide(tensor: Tensor) -> Tensor:
    """Return the tensor in bf16 where it is fp8, which PyTorch can't compute with."""
    return tensor.bfloat16() if tensor.is_floating_point() and tensor.element_size() == 1 else tensor


def _metadata(text: str | None) -> Mapping[str, Any]:
    """Return peft's configuration from the file's metadata; empty where there is none."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UnknownModel(f"its metadata {_METADATA} can't be read")
    return found


def _strong(layer: _Layer, config: Mapping[str, Any], target: str, *, kron: bool) -> dict[str, Tensor]:
    """Return a layer's tensors with the scale, alpha / rank, multiplied in.

    Args:
        layer: The tensors of the file.
        config: peft's configuration from the file's metadata.
        target: The layer's name in the pipeline.
        kron: Whether LoKr (Kronecker products) can be loaded.

    Raises:
        UnknownModel: A tensor is missing or can't be applied.
    """
    found = dict(layer.tensors)
    alpha = _number(found.pop("alpha"), layer.keys["alpha"]) if "alpha" in found else None
    if any(slot.startswith("lokr_") for slot in found):
        if not kron or found.keys() & {"A", "B", "B_bias", "lora_magnitude_vector"}:
            _refuse(sorted(layer.keys.values()), len(layer.keys))
        return _kronecker(found, alpha, layer.first)
    if "A" not in found or "B" not in found:
        raise UnknownModel(f"its weight {layer.first} is one of a pair, and the other is not there")
    down, up = found["A"], found["B"]
    rank = down.shape[0] if down.dim() > 1 else 0
    if not rank or up.dim() < 2 or up.shape[1] != rank:
        raise UnknownModel(f"its weight {layer.first} and the one that goes with it do not fit each other")
    scale = _configured(config, target, rank) if alpha is None else alpha / rank
    less, more = _halves(scale)
    found |= {"A": down * less, "B": up * more}
    if "B_bias" in found:
        found["B_bias"] = found["B_bias"] * scale
    return found


def _configured(config: Mapping[str, Any], target: str, rank: int) -> float:
    """Return a layer's scale from peft's configuration; 1 where there is none."""
    if not config:
        return 1.0
    patterns: dict[str, Any] = config.get("alpha_pattern") or {}
    try:
        alpha = float(patterns.get(get_pattern_key(list(patterns), target), config.get("lora_alpha", 8)))
    except (AttributeError, TypeError, ValueError, re.error) as e:
        raise UnknownModel(f"its metadata {_METADATA} can't be read") from e
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _kronecker(found: dict[str, Tensor], alpha: float | None, first: str) -> dict[str, Tensor]:
    """Return the factors of a Kronecker product with the scale multiplied into the left one."""
    for side in ("lokr_w1", "lokr_w2"):
        if found.keys() & {side, f"{side}_a", f"{side}_b"} not in ({side}, {f"{side}_a", f"{side}_b"}):
            raise UnknownModel(f"its weight {first} is a factor, and not all of the others are there")
    ranks = [found[name].shape[0] for name in ("lokr_w2_b", "lokr_w1_b") if name in found]
    if ranks and alpha is not None:  # two undecomposed factors include it
        left = "lokr_w1" if "lokr_w1" in found else "lokr_w1_a"
        found[left] = found[left] * (alpha / ranks[0])
    return found


def _number(tensor: Tensor, key: str) -> float:
    if tensor.numel() != 1 or not math.isfinite(found := float(tensor)):
        raise UnknownModel(f"its weight {key} is no number")
    return found


def _halves(scale: float) -> tuple[float, float]:
    """Split a scale into two factors of similar size, the second a power of two, so that fp16 loses little."""
    more = 2.0 ** round(math.log2(abs(scale)) / 2) if scale else 1.0
    return scale / more, more


def _shaped(slot: str, tensor: Tensor, module: Any) -> Tensor:
    """Return a tensor in its layer's shape: a 1x1 convolution and a linear layer are equivalent."""
    if slot in ("A", "B"):
        if isinstance(module, nn.Conv2d) and tensor.dim() == 2:
            return tensor[:, :, None, None]
        if not isinstance(module, nn.Conv2d) and tensor.dim() == 4 and tensor.shape[2:] == (1, 1):
            return tensor.flatten(1)
    return tensor


def _split(
    found: Mapping[str, Tensor], targets: tuple[str, ...], rows: list[int]
) -> Iterable[tuple[str, dict[str, Tensor]]]:
    if found["B"].shape[0] != sum(rows):
        raise UnknownModel(f"its layer {targets[0]} has {found['B'].shape[0]} rows where {sum(rows)} belong")
    for target, up in zip(targets, torch.split(found["B"], rows), strict=True):
        yield target, {"A": found["A"], "B": up.contiguous()}


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether two adapters make the same change to a layer."""
    if one is other:
        return True
    if one.keys() != other.keys():
        return False
    return torch.allclose(_delta(one), _delta(other), atol=1e-4)


def _delta(found: Mapping[str, Tensor]) -> Tensor:
    return found["B"].float().flatten(1) @ found["A"].float().flatten(1)


def _check_magnitudes(whole: Mapping[tuple[str, str], Mapping[str, Tensor]]) -> None:
    """Raise UnknownModel where some layers of a part are DoRA and others are not, which peft can't load."""
    having = {part: layer for (part, layer), found in whole.items() if "lora_magnitude_vector" in found}
    for (part, layer), found in whole.items():
        if part in having and "lora_magnitude_vector" not in found:
            raise UnknownModel(
                f"its layer {having[part]} has a lora_magnitude_vector and {layer} has none, and such a mixture can't be loaded"
            )


def _adapter(whole: Mapping[tuple[str, str], Mapping[str, Tensor]]) -> Adapter:
    weights: dict[str, Tensor] = {}
    names: dict[str, list[str]] = {}
    for (part, layer), found in whole.items():
        text = part.startswith(TEXT_ENCODER)
        for slot, tensor in found.items():
            name = {"A": "lora_A.weight", "B": "lora_B.weight", "B_bias": "lora_B.bias"}.get(slot, slot)
            # diffusers loads a text encoder's LoRA only under these names.
            given = (
                {"A": "lora_linear_layer.down.weight", "B": "lora_linear_layer.up.weight"}.get(slot) if text else name
            )
            if given is None:
                raise UnknownModel(f"its weight {slot} for the layer {layer} of the {part} can't be applied")
            weights[f"{part}.{layer}.{given}"] = tensor.contiguous()
            names.setdefault(part, []).append(
                f"{layer}.{name}" + (".weight" if slot == "lora_magnitude_vector" else "")
            )
    return Adapter(weights, names)
