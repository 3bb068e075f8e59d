"""Checks a classifier's folder: a ViT in safetensors whose labels name what is unsafe. Reads no tensors."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from engine.contract import EngineError
from engine.regular_files import open_regular, read_json
from engine.weights import weight_files

ARCHITECTURE = "ViTForImageClassification"


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of a classifier.

    Attributes:
        names: All labels, in order.
        unsafe: Indexes of the labels that count as unsafe.
    """

    names: tuple[str, ...]
    unsafe: tuple[int, ...]


def read(folder: Path, unsafe: Collection[str]) -> Labels:
    """Return the labels of a folder that can be used.

    Args:
        folder: A model as transformers saves it.
        unsafe: Labels that count as unsafe, in any case.

    Raises:
        EngineError: It can't be used; one clear sentence says why and what to do.
    """
    try:
        config = read_json(folder / "config.json")
        architectures = tuple(config.get("architectures") or ())
        labels = {int(index): str(label) for index, label in dict(config["id2label"]).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise EngineError(
            f"EASEL_MODERATION_MODEL: {folder} has no config.json that names labels; give the folder of a {ARCHITECTURE}."
        ) from e
    if ARCHITECTURE not in architectures:
        raise EngineError(
            f"EASEL_MODERATION_MODEL: {folder} holds {', '.join(architectures) or 'no known model'}; only a"
            f" {ARCHITECTURE} can be used."
        )
    if not (files := weight_files(folder)):
        raise EngineError(f"EASEL_MODERATION_MODEL: {folder} has no .safetensors file; other weights are not loaded.")
    for file in files:
        _check_weights(file)
    names = tuple(labels[index] for index in sorted(labels))
    wanted = {label.casefold() for label in unsafe}
    found = tuple(index for index, name in enumerate(names) if name.casefold() in wanted)
    if not found:
        raise EngineError(
            f"EASEL_MODERATION_LABELS: the classifier's labels are {', '.join(names)}; name those that are unsafe."
        )
    return Labels(names, found)


def _check_weights(file: Path) -> None:
    """Raise EngineError if a file of weights can't be opened."""
    try:
        open_regular(file).close()
    except OSError as e:
        raise EngineError(f"EASEL_MODERATION_MODEL: {file} can't be read ({e.strerror or e}).") from e
