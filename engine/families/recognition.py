"""Tells from the names and shapes of tensors which family weights belong to, a LoRA's too. Reads no files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from engine.families.registry import specs
from engine.families.spec import TEXT_ENCODER, FamilySpec
from engine.weights import TensorInfo

UNSUPPORTED: Mapping[str, re.Pattern[str]] = {
    "Flux": re.compile(r"double_blocks[._]\d|single_blocks[._]\d|single_transformer_blocks[._]\d"),
    "Stable Diffusion 3": re.compile(r"joint_blocks[._]\d"),
    "Qwen-Image or a model like it": re.compile(r"(?:^|[._])transformer_blocks[._]\d+[._]"),
    "Wan": re.compile(r"(?:^|[._])blocks[._]\d+[._](?:self_attn|cross_attn)"),
}
"""Tensor names of architectures that Easel has no family for; the first that matches counts."""

LORA_TENSORS = re.compile(
    r"[._]lora[._](?:down|up|A|B|mid)\b|lora_linear_layer|[._](?:hada|lokr)_[wt]|\bdora_scale\b|\.diff(?:_b)?$"
)
"""Found in the name of at least one tensor of a LoRA, whatever its form."""

_DOWN = re.compile(
    r"(?P<layer>.+?)(?:[._]lora[._](?:down|A)|\.lora_linear_layer\.down|\.hada_w[12]_b)(?:\.default)?(?:\.weight)?"
)
_KRON = re.compile(r"(?P<layer>.+?)\.lokr_w(?P<side>[12])(?:_b)?(?:\.default)?(?:\.weight)?")

_BASE_KEYS = ("modelspec.architecture", "ss_base_model_version", "baseModel", "base_model")
"""Metadata keys under which trainers write the base model."""

_XL = re.compile(r"xl")


def families_of(tensors: Iterable[str]) -> tuple[FamilySpec, ...]:
    """Return the families of the architecture that these tensor names belong to; none where it has no family."""
    names = tuple(tensors)
    pattern = next((s.keys.pattern for s in specs().values() if any(map(s.keys.pattern.search, names))), None)
    return tuple(spec for spec in specs().values() if spec.keys.pattern == pattern)


def title_of(families: tuple[FamilySpec, ...], tensors: Mapping[str, TensorInfo], *, own: bool) -> str:
    """Return the title of the model that a file of an architecture is made for.

    Args:
        families: Families of the architecture.
        tensors: What the file holds.
        own: Whether the pipeline that it should go into is of the architecture too.
    """
    keys = families[0].keys
    titles = dict(keys.unsupported) | {spec.keys.width: spec.title for spec in families if spec.keys.width}
    by_width = next((titles[width] for width in widths(tensors, keys.width_pattern) if width in titles), "")
    return by_width or keys.architecture + (" of another size" if own or len(families) > 1 else "")


def widths(tensors: Mapping[str, TensorInfo], pattern: re.Pattern[str]) -> Iterator[int]:
    """Return the number of input channels of each weight whose name has a family's ``width_pattern``."""
    for name, tensor in tensors.items():
        if pattern.search(name) and len(tensor.shape) > 1:
            yield tensor.shape[1]


def base_weights(tensors: Mapping[str, TensorInfo]) -> Mapping[str, TensorInfo]:
    """Return the weights that a LoRA's tensors change, by name (``<layer>.weight``), in the shape (0, inputs).

    Inputs are those of a linear layer; of a convolution they are channels, or channels x pixels of its kernel.
    """
    found: dict[str, TensorInfo] = {}
    factors: dict[str, dict[str, int]] = {}
    for name, tensor in tensors.items():
        if len(tensor.shape) < 2:
            continue
        if (whole := _DOWN.fullmatch(name)) is not None:
            found[f"{whole['layer']}.weight"] = TensorInfo(tensor.dtype, (0, tensor.shape[1]))
        elif (factor := _KRON.fullmatch(name)) is not None:
            factors.setdefault(factor["layer"], {})[factor["side"]] = tensor.shape[1]
    for layer, sides in factors.items():
        if len(sides) == 2:
            found[f"{layer}.weight"] = TensorInfo("", (0, sides["1"] * sides["2"]))
    return found


def lora_family(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> FamilySpec | None:
    """Return the family that a LoRA is made for; None where its names and shapes do not tell, or Easel has none for it.

    Args:
        tensors: Its tensors.
        metadata: The texts of its header, which trainers write the base model into.
    """
    families = families_of(tensors)
    if len(families) <= 1:
        return families[0] if families else None
    changed = base_weights(tensors)
    for spec in families:
        if spec.keys.width and spec.keys.width in set(widths(changed, spec.keys.width_pattern)):
            return spec
    if any(width in families[0].keys.unsupported for width in widths(changed, families[0].keys.width_pattern)):
        return None
    # Of several text encoders, the second is the surest sign.
    several = any(name.startswith(("lora_te1_", "lora_te2_", f"{TEXT_ENCODER}_2.")) for name in tensors)
    one = any(name.startswith(("lora_te_", f"{TEXT_ENCODER}.")) for name in tensors)
    named = " ".join(metadata.get(key, "") for key in _BASE_KEYS).lower()
    if several or _XL.search(named):
        return next((spec for spec in families if f"{TEXT_ENCODER}_2" in spec.parts), None)
    if one or named.strip():
        return next((spec for spec in families if f"{TEXT_ENCODER}_2" not in spec.parts), None)
    return None
