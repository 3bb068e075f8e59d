"""The layers of a pipeline that LoRAs may change, by all names that trainers give to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import ReferenceType, ref

from torch import nn

from engine.diffusion.lora_deltas import geometry
from engine.families.spec import TEXT_ENCODER

_PREFIXES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"lora_te2[._]|(?:base_model\.model\.)?text_encoder_2\.|text_encoders\.clip_g\.transformer\."), "text_encoder_2"),
    (re.compile(r"lora_te1?[._]|(?:base_model\.model\.)?text_encoder\.|text_encoders\.clip_l\.transformer\."), "text_encoder"),
    (re.compile(r"lora_(?:unet|transformer)[._]|(?:base_model\.model\.)?(?:(?:model\.)?diffusion_model|unet|transformer)\.|base_model\.model\.|lycoris_(?:unet_|transformer_)?|"), ""),
)  # fmt: skip
"""Prefix of a layer's name and the part that the layer is in; empty for the denoiser."""

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


def find_place(layer: str, tables: Mapping[str, Mapping[str, tuple[str, ...]]]) -> Place | None:
    """Return where a layer of a LoRA is, by its name in the file and ``Targets.tables``; None if there is no such layer."""
    denoiser = next(iter(tables))
    for prefix, part in _PREFIXES:
        if (begin := prefix.match(layer)) is not None:
            place = (part or denoiser, _flat(layer[begin.end() :]))
            return place if place[1] in tables.get(place[0], {}) else None
    return None


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
