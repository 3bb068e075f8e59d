"""Reads a LoRA: what it changes at each layer of a pipeline, in all forms that trainers publish.

Every tensor of its file must belong to a layer of the pipeline, and shapes must be those of the layers, so that nothing
of a LoRA is lost or guessed; else the file is refused.

Definitions: LoRA arXiv 2106.09685, DoRA arXiv 2402.09353; LoCon, LoHa and LoKr as LyCORIS 3 has them (arXiv 2309.14859).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import torch
from peft.utils.other import get_pattern_key
from safetensors import safe_open
from torch import Tensor

from engine.contract import UnknownModel
from engine.diffusion.lora_deltas import Delta, Full, Geometry, Hadamard, Kronecker, LayerDelta, LowRank, geometry
from engine.diffusion.lora_targets import Place, Targets, find_place
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

_UNUSABLE: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"dora_scale|magnitude_vector"), "DoRA in a form that can't be loaded"),
    (re.compile(r"oft_|[._]a[12]\b|[._]b[12]\b|glora|boft|w_norm|b_norm|\.diff(?:_b)?$|scalar"), "LyCORIS of a kind that can't be loaded"),
    (re.compile(r"bundle_emb|string_to_param|emb_params|^clip_[lg]$"), "an embedding, which is no part of a LoRA"),
)  # fmt: skip

METADATA = "lora_adapter_metadata"
"""Metadata key under which diffusers writes peft's configuration, alphas included."""

_LOW_RANK = frozenset({"down", "up", "mid", "up_bias"})
_HADAMARD = frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"})
_KRONECKER = frozenset({"lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"})
_FULL = frozenset({"diff", "diff_b"})


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


def _sorted(
    tensors: Mapping[str, Tensor], tables: Mapping[str, Mapping[str, tuple[str, ...]]]
) -> tuple[dict[Place, LayerTensors], list[str]]:
    """Return the file's tensors by part and layer, and the keys that belong to no layer."""
    layers: dict[Place, LayerTensors] = {}
    unknown = []
    for key, tensor in tensors.items():
        slot = ""
        if (found := _MATRIX.fullmatch(key)) is not None:
            slot = _SLOTS[found["which"] or found["linear"]] + ("" if found["kind"] == "weight" else "_bias")
        elif (found := _OTHER.fullmatch(key)) is not None:
            slot = found["which"]
        place = None
        if found is not None and slot not in ("down_bias", "mid_bias"):
            place = find_place(found["layer"], tables)
        if place is None:
            unknown.append(key)
            continue
        layer = layers.setdefault(place, LayerTensors())
        if slot in layer.tensors:
            raise UnknownModel(f"its weight {key} is there twice, also as {layer.keys[slot]}")
        layer.tensors[slot], layer.keys[slot] = tensor, key
    return layers, unknown


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
