"""Which files of a repository are taken: configs and safetensors of the pipeline's own parts, each in one form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from engine.hub.errors import FetchError
from engine.hub.names import WEIGHTS

INDEX = "model_index.json"
"""What makes a folder a diffusers pipeline: which parts it has, and of which class each is."""

_CONFIGS = (".json", ".jinja", ".txt", ".model")
_SAFETENSORS = ".safetensors"
_VARIANTS = ("fp16", "bf16")
"""Forms that are taken, the first that there is, where a part has no plain one."""


UNUSED = frozenset({"safety_checker", "image_encoder"})
"""Parts that nothing here draws with; the first is 1.2 GB of Stable Diffusion 1.5."""


@dataclass(frozen=True, slots=True)
class Selection:
    """How much of a pipeline is wanted.

    Attributes:
        without: Parts whose weights are not wanted, since they come from elsewhere or are not used; their configs are.
        weights: False for its configs and tokenizers alone.
    """

    without: frozenset[str] = UNUSED
    weights: bool = True


WHOLE = Selection()


def is_useful(path: str) -> bool:
    """Return whether a file can be a part of any model: no pickle, no code, no picture."""
    return PurePosixPath(path).suffix.lower() in (*_CONFIGS, *WEIGHTS)


def pipeline_parts(index: Mapping[str, object]) -> tuple[str, ...]:
    """Return the folders that a ``model_index.json`` names."""
    return tuple(name for name, of in index.items() if isinstance(of, list) and len(of) == 2 and of[0] is not None)


def select_files(paths: Iterable[str], index: Mapping[str, object], selection: Selection = WHOLE) -> tuple[str, ...]:
    """Return the paths that this pipeline is loaded from, sorted.

    What else lies in such repositories stays there: single-file checkpoints, folders that the index does not name,
    other frameworks' files, and second forms of the same weights (``.fp16``, ``.non_ema``).

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
        weights = _one_form([name for name in names if name.endswith(_SAFETENSORS)]) if weigh else []
        if weigh and "config.json" in configs and not weights:
            raise FetchError(
                f"Its part {part} is not there as safetensors, and Easel loads no pickles: take a copy that has them.",
                passing=False,
            )
        chosen += [f"{part}/{name}" for name in (*configs, *weights)]
    return tuple(sorted(chosen))


def _one_form(names: list[str]) -> list[str]:
    """Return the plain files, or those of one variant, of a part's weights.

    Both libraries write ``<stem>[.<variant>][-00001-of-00002].safetensors``.
    """
    by_form: dict[str, list[str]] = {}
    for name in names:
        stem = name.removesuffix(_SAFETENSORS).partition("-0")[0]
        by_form.setdefault(stem.partition(".")[2], []).append(name)
    for form in ("", *_VARIANTS, *sorted(by_form)):
        if form in by_form:
            return by_form[form]
    return []
