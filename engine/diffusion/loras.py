"""Reads a LoRA. Every tensor of its file must belong to a layer of the pipeline, or the file is refused.

Names are looked up in the pipeline itself, under all names that trainers give to its layers. Shapes must be those of the
layers, so that nothing of a LoRA is lost or guessed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any
from weakref import ReferenceType, ref

from safetensors import safe_open
from torch import Tensor, nn

from engine.contract import UnknownModel
from engine.diffusion.lora_deltas import Geometry, LayerDelta, LowRank, geometry
from engine.diffusion.lora_forms import METADATA, LayerTensors, layer_delta, same
from engine.families.spec import TEXT_ENCODER

_MATRIX = re.compile(
    r"(?P<layer>.+?)(?:[._]lora[._](?P<which>down|up|mid|A|B)|\.lora_linear_layer\.(?P<linear>down|up))"
    r"(?:\.default)?\.(?P<kind>weight|bias)"
)
_OTHER = re.compile(
    r"(?P<layer>.+?)\.(?P<which>alpha|dora_scale|lora_magnitude_vector|hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|"
    r"lokr_t2|diff|diff_b)(?:\.default)?(?:\.weight)?"
)
_PAIR = re.compile(r"[._]lora[._](?:down|up|A|B)(?:\.default)?\.weight$|\.alpha$")
"""Tensors of a plain LoRA."""

_LOST = 0.01
"""Share of a LoRA's squares that a translation of its names may change, by rounding."""

_SLOTS: Mapping[str, str] = {"down": "down", "A": "down", "up": "up", "B": "up", "mid": "mid"}

_PREFIXES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"lora_te2[._]|(?:base_model\.model\.)?text_encoder_2\.|text_encoders\.clip_g\.transformer\."), "text_encoder_2"),
    (re.compile(r"lora_te1?[._]|(?:base_model\.model\.)?text_encoder\.|text_encoders\.clip_l\.transformer\."), "text_encoder"),
    (re.compile(r"lora_(?:unet|transformer)[._]|(?:base_model\.model\.)?(?:(?:model\.)?diffusion_model|unet|transformer)\.|base_model\.model\.|lycoris_(?:unet_|transformer_)?|"), ""),
)  # fmt: skip
"""Prefix of a layer's name and the part that the layer is in; empty for the denoiser."""

_UNUSABLE: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"dora_scale|magnitude_vector"), "DoRA in a form that can't be loaded"),
    (re.compile(r"oft_|[._]a[12]\b|[._]b[12]\b|glora|boft|w_norm|b_norm|\.diff(?:_b)?$|scalar"), "LyCORIS of a kind that can't be loaded"),
    (re.compile(r"bundle_emb|string_to_param|emb_params|^clip_[lg]$"), "an embedding, which is no part of a LoRA"),
)  # fmt: skip

Converter = Callable[[dict[str, Any]], Mapping[str, Any]]

Place = tuple[str, str]
"""Names of a part and of a layer in it, as in diffusers."""


@dataclass(frozen=True, slots=True)
class Targets:
    """The layers of a pipeline that a LoRA may change. The pipeline's memory is freed although this is kept.

    Attributes:
        parts: The parts, by name, the denoiser first.
        tables: For each part, its layers by every name that a LoRA may use for them, with underscores for dots. The
            parts are in order, the denoiser first.
        convert: See ``engine.families.family.Family.lora_converter``.
    """

    parts: Mapping[str, ReferenceType[nn.Module]]
    tables: Mapping[str, Mapping[str, tuple[str, ...]]]
    convert: Converter | None = None

    def module(self, place: Place) -> nn.Module:
        """Return a layer."""
        part = self.parts[place[0]]()
        assert part is not None, "the model was unloaded"
        return part.get_submodule(place[1])


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA under the names of the pipeline's layers.

    Attributes:
        layers: What it changes, with alphas multiplied in.
        digest: Digest of its file in hexadecimal digits, its metadata included.
        tensors_digest: SHA-256 of the file behind its header, in hexadecimal digits: what A1111 and Civitai (AutoV3) know
            a LoRA by, since tools rewrite the metadata.
    """

    layers: Mapping[Place, LayerDelta]
    digest: str = ""
    tensors_digest: str = ""

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        return sum(layer.nbytes for layer in self.layers.values())

    @property
    def changes_text(self) -> bool:
        """Whether it changes a text encoder."""
        return any(part.startswith(TEXT_ENCODER) for part, _ in self.layers)


def targets_of(parts: Mapping[str, nn.Module], family: Any, convert: Converter | None = None) -> Targets:
    """Return the layers of a pipeline that a LoRA may change.

    Args:
        parts: The parts that a LoRA may change, by name, the denoiser first.
        family: Subclass of ``engine.families.family.Family``, which knows the names of the first publication.
        convert: See Targets.
    """
    tables = {}
    for part, model in parts.items():
        names = [name for name, module in model.named_modules() if geometry(module) is not None]
        tables[part] = _table(family, part, model, names)
    return Targets({part: ref(model) for part, model in parts.items()}, tables, convert)


def read(path: Path, targets: Targets) -> Adapter:
    """Return a LoRA for a pipeline.

    Args:
        path: A ``.safetensors`` file.
        targets: The pipeline's layers.

    Raises:
        UnknownModel: A tensor can't be applied. The message says which and why; it begins in small letters.
    """
    with safe_open(path, "pt") as opened:
        adapter_config = _metadata((opened.metadata() or {}).get(METADATA))
        tensors = {key: _wide(opened.get_tensor(key), key) for key in opened.keys()}  # noqa: SIM118  # it is no mapping
    digests = _digests(path)
    layers, unknown = _sorted(tensors, targets.tables)
    if unknown:
        translated = _translated(tensors, adapter_config, targets)
        if translated is not None:
            return Adapter(translated, *digests)
        _refuse(unknown, len(tensors))
    return Adapter(_adapter(layers, adapter_config, targets), *digests)


def _translated(
    tensors: Mapping[str, Tensor], adapter_config: Mapping[str, Any], targets: Targets
) -> Mapping[Place, LayerDelta] | None:
    """Return what a LoRA with names of other libraries changes by layer; None where they can't be translated.

    The libraries drop what they don't know, so only pairs of low rank are left to them, and the squares of all deltas
    must have the same sum before and after. Some of them expect alphas, and some lose them.
    """
    if targets.convert is None or not all(_PAIR.search(key) for key in tensors):
        return None
    pairs: dict[str, dict[str, str]] = {}
    for key in tensors:
        if (found := _MATRIX.fullmatch(key)) is not None:
            pairs.setdefault(found["layer"], {})[_SLOTS[found["which"] or found["linear"]]] = key
        elif key.endswith(".alpha"):
            pairs.setdefault(key.removesuffix(".alpha"), {})["alpha"] = key
    if not all({"down", "up"} <= pair.keys() for pair in pairs.values()):
        return None
    before, without = 0.0, dict(tensors)
    for pair in pairs.values():
        down, up = tensors[pair["down"]].float(), tensors[pair["up"]].float()
        scale = float(without.pop(pair["alpha"])) / len(down) if "alpha" in pair else 1.0
        without[pair["up"]] = up * scale
        before += _square(down, up * scale)
    for given in (dict(tensors), without):
        try:
            layers, unknown = _sorted(targets.convert(given), targets.tables)
            whole = {} if unknown else _adapter(layers, adapter_config, targets)
        except (UnknownModel, ValueError, KeyError, IndexError, RuntimeError, AttributeError, TypeError):
            continue  # names that the library does not know either
        pieces = [(one.delta, one.scale) for one in whole.values() if isinstance(one.delta, LowRank)]
        after = sum(_square(delta.down.float(), delta.up.float() * scale) for delta, scale in pieces)
        if math.isclose(before, after, rel_tol=_LOST):
            return whole
    return None


def _square(down: Tensor, up: Tensor) -> float:
    """Return the sum of the squares of up @ down."""
    down, up = down.flatten(1), up.flatten(1)
    return float(((down @ down.T) * (up.T @ up)).sum())


def _adapter(
    layers: Mapping[Place, LayerTensors], adapter_config: Mapping[str, Any], targets: Targets
) -> Mapping[Place, LayerDelta]:
    """Return what a LoRA changes by layer. Raises UnknownModel as ``read`` does."""
    whole: dict[Place, LayerDelta] = {}
    fused: list[tuple[str, tuple[str, ...], LayerTensors, LayerDelta]] = []
    for (part, name), layer in layers.items():
        names = targets.tables[part][name]
        config = {
            key.removeprefix(f"{part}."): adapter_config[key] for key in adapter_config if key.startswith(f"{part}.")
        }
        shape = _shape([geometry(targets.module((part, one))) for one in names])
        found = layer_delta(layer, config, names[0], shape)
        if len(names) > 1:
            fused.append((part, names, layer, found))
        elif (part, names[0]) in whole:
            raise UnknownModel(f"it has the layer {names[0]} twice, under two names")
        else:
            whole[part, names[0]] = found
    for part, names, layer, found in fused:
        if found.by_input:
            raise UnknownModel(f"its weight {layer.first} is a DoRA of several layers at once, by their inputs")
        start = 0
        for name in names:
            one = geometry(targets.module((part, name)))
            assert one is not None
            stop = start + one.shape[0]
            piece = _rows(found, start, stop)
            # Some trainers write both the fused and the split layers.
            if not same(whole.setdefault((part, name), piece), piece):
                raise UnknownModel(f"it has the layer {name} twice, with other weights")
            start = stop
    return whole


def _digests(path: Path) -> tuple[str, str]:
    """Return ``Adapter.digest`` and ``Adapter.tensors_digest`` of a safetensors file; its content is read once."""
    with path.open("rb") as file:
        length = file.read(8)
        header = file.read(int.from_bytes(length, "little"))
        tensors = file_digest(file, "sha256")
    return sha256(length + header + tensors.digest()).hexdigest(), tensors.hexdigest()


def _shape(layers: list[Geometry | None]) -> Geometry:
    """Return the geometry of one layer, or of linear layers that share their input and stand below each other."""
    first = layers[0]
    assert first is not None
    rows = sum(one.shape[0] for one in layers if one is not None)
    return Geometry((rows, *first.shape[1:]), first.moves)


def _rows(found: LayerDelta, start: int, stop: int) -> LayerDelta:
    return LayerDelta(
        None if found.delta is None else found.delta.rows(start, stop),
        found.scale,
        None if found.bias is None else found.bias[start:stop],
        None if found.magnitude is None else found.magnitude[start:stop],
    )


def _table(family: Any, part: str, model: nn.Module, names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return a part's layers by every name that a LoRA may use for them, with underscores for dots."""
    found: dict[str, tuple[str, ...]] = {}
    if part.startswith(TEXT_ENCODER):
        for name in names:
            bare = name.removeprefix("text_model.")
            old = re.sub(r"([qkv])_proj$", r"to_\1", re.sub(r"out_proj$", "to_out", bare))
            found |= {_flat(form): (name,) for form in (bare, f"text_model.{bare}", old, f"text_model.{old}")}
        return found
    found |= {_flat(first): theirs for first, theirs in family.original_layer_names(model, names).items()}
    for name in names:
        found |= {_flat(form): (name,) for form in (name, re.sub(r"to_out\.0$", "to_out", name))}
    return found


def _flat(name: str) -> str:
    return name.replace(".processor.", ".").replace(".", "_")


def _sorted(
    tensors: Mapping[str, Tensor], tables: Mapping[str, Mapping[str, tuple[str, ...]]]
) -> tuple[dict[Place, LayerTensors], list[str]]:
    """Return the file's tensors by part and layer, and the keys that belong to no layer."""
    layers: dict[Place, LayerTensors] = {}
    unknown = []
    denoiser = next(iter(tables))
    for key, tensor in tensors.items():
        slot = ""
        if (found := _MATRIX.fullmatch(key)) is not None:
            slot = _SLOTS[found["which"] or found["linear"]] + ("" if found["kind"] == "weight" else "_bias")
        elif (found := _OTHER.fullmatch(key)) is not None:
            slot = found["which"]
        place = None
        if found is not None and slot not in ("down_bias", "mid_bias"):
            place = _place(found["layer"], tables, denoiser)
        if place is None:
            unknown.append(key)
            continue
        layer = layers.setdefault(place, LayerTensors())
        if slot in layer.tensors:
            raise UnknownModel(f"its weight {key} is there twice, also as {layer.keys[slot]}")
        layer.tensors[slot], layer.keys[slot] = tensor, key
    return layers, unknown


def _place(layer: str, tables: Mapping[str, Mapping[str, tuple[str, ...]]], denoiser: str) -> Place | None:
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


def _wide(tensor: Tensor, key: str) -> Tensor:
    """Return the tensor in bf16 where it is fp8, which PyTorch can't compute with.

    Raises UnknownModel for integers, and for values that are not finite, with which every picture would overflow.
    """
    if not tensor.is_floating_point() and tensor.numel() > 1:
        raise UnknownModel(f"it has weights in {str(tensor.dtype).removeprefix('torch.')}")
    wide = tensor.bfloat16() if tensor.is_floating_point() and tensor.element_size() == 1 else tensor
    if not wide.isfinite().all():
        raise UnknownModel(
            f"its weight {key} has values that are infinite or not numbers, as of a training that failed"
        )
    return wide


def _metadata(text: str | None) -> Mapping[str, Any]:
    """Return peft's configuration from the file's metadata; empty where there is none."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UnknownModel(f"its metadata {METADATA} can't be read")
    return found
