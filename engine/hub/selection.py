"""Selects a repository's files: configs and safetensors of the pipeline's parts, each in one variant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from engine.hub.errors import FetchError
from engine.hub.names import WEIGHTS

INDEX = "model_index.json"
"""The file that makes a folder a diffusers pipeline; it names the parts and their classes."""

CONFIG = "config.json"
"""The file that makes a folder a model of diffusers, such as a part of a pipeline."""

_OWN = "diffusion_pytorch_model"
_INDEX = ".safetensors.index.json"
_CONFIGS = (".json", ".jinja", ".txt", ".model")
_SAFETENSORS = ".safetensors"
_VARIANTS = ("fp16", "bf16")
"""Variants of a part's weights that are used, in this order, if there are no plain weights."""


UNUSED = frozenset({"safety_checker", "image_encoder", "pe"})
"""Parts that Easel does not use: the safety checker is 1.2 GB of Stable Diffusion 1.5, ``pe`` 6.9 GB of ERNIE-Image."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which files of a pipeline are fetched.

    Attributes:
        without: Parts whose configs alone are fetched: their weights come from elsewhere or are not used.
        weights: False: only configs and tokenizers.
    """

    without: frozenset[str] = UNUSED
    weights: bool = True


WHOLE = Selection()


def is_useful(path: str) -> bool:
    """Return whether a file can belong to a model: no pickle, no code, no picture."""
    return PurePosixPath(path).suffix.lower() in (*_CONFIGS, *WEIGHTS)


def pipeline_parts(index: Mapping[str, object]) -> tuple[str, ...]:
    """Return the folders that a ``model_index.json`` names."""
    return tuple(name for name, of in index.items() if isinstance(of, list) and len(of) == 2 and of[0] is not None)


def select_files(paths: Iterable[str], index: Mapping[str, object], selection: Selection = WHOLE) -> tuple[str, ...]:
    """Return the sorted paths that a pipeline is loaded from.

    Everything else in its repository is left out: single-file checkpoints, folders that the index does not name, other
    frameworks' files, and further variants of the same weights (``.fp16``, ``.non_ema``).

    Raises:
        FetchError: A part has no safetensors.
    """
    chosen = [INDEX]
    inside: dict[str, list[str]] = {part: [] for part in pipeline_parts(index)}
    for path in paths:
        part, _, name = path.partition("/")
        if part in inside and name and "/" not in name and not name.startswith("."):
            inside[part].append(name)
    for part, names in inside.items():
        configs = [name for name in names if PurePosixPath(name).suffix in _CONFIGS]
        weigh = selection.weights and part not in selection.without
        weights = _one_variant([name for name in names if name.endswith(_SAFETENSORS)]) if weigh else []
        if weigh and "config.json" in configs and not weights:
            raise FetchError(
                f"Its part {part} has no safetensors, and Easel loads no pickles: use a copy that has them.",
                passing=False,
            )
        chosen += [f"{part}/{name}" for name in (*configs, *weights)]
    return tuple(sorted(chosen))


def select_single(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the sorted paths that a single model, such as a ControlNet, is loaded from: its config and its weights.

    Raises:
        FetchError: It has no config, or no safetensors.
    """
    names = [path for path in paths if "/" not in path and not path.startswith(".")]
    # Beside diffusers' own files there may be others, such as the same weights for another program.
    weights = _one_variant([name for name in names if name.startswith(_OWN) and name.endswith(_SAFETENSORS)])
    if CONFIG not in names or not weights:
        raise FetchError(
            f"It has no {CONFIG} with {_OWN}.safetensors: name one file of it (owner/name/FILE.safetensors).",
            passing=False,
        )
    return tuple(sorted([CONFIG, *(name for name in names if name.endswith(_INDEX)), *weights]))


def _one_variant(names: list[str]) -> list[str]:
    """Return a part's plain weights, or those of one variant.

    diffusers and transformers write ``<stem>[.<variant>][-00001-of-00002].safetensors``.
    """
    by_variant: dict[str, list[str]] = {}
    for name in names:
        stem = name.removesuffix(_SAFETENSORS).partition("-0")[0]
        by_variant.setdefault(stem.partition(".")[2], []).append(name)
    for variant in ("", *_VARIANTS, *sorted(by_variant)):
        if variant in by_variant:
            return by_variant[variant]
    return []
