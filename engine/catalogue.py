"""The models that people can choose: the default, those of models.toml, and known ones that are on the disk."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.contract import Recipe, UnknownModel
from engine.families.registry import DEMO, known_models
from engine.folders import profile_of
from engine.models_file import ModelsFile, read
from engine.spec import ModelSpec

Ready = Callable[[ModelSpec, str], bool]
"""Takes a model and the folder of downloaded models; returns whether all of its files are there."""

_BATCH_PIXELS = 2**20
"""Pixels worth drawing in one batch: one 1024x1024 picture fills a device, smaller ones are batched."""

_BATCH_MOST = 8
"""In larger batches the first picture waits longer than the batch saves."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The models that people can choose.

    Attributes:
        specs: The default first; their names are unique.
        problems: One sentence for each part of ``models_file`` that is left out.
    """

    specs: tuple[ModelSpec, ...]
    problems: tuple[str, ...] = ()


def specs(model: str, models_dir: str, models_file: str, ready: Ready | None = None) -> tuple[ModelSpec, ...]:
    """Return the models of ``read_catalogue``, and log an error for each part of ``models_file`` that is left out."""
    found = read_catalogue(model, models_dir, models_file, ready)
    for problem in found.problems:
        log.error("Left out of the models: %s", problem)
    return found.specs


def read_catalogue(model: str, models_dir: str, models_file: str, ready: Ready | None = None) -> Catalogue:
    """Return every model that people can choose.

    Reads files, so call it at start-up and not on an event loop. A mistake in one table leaves that model out.

    Args:
        model: ``EASEL_MODEL``: a known name or hub id, a folder, or a name in ``models_file``.
        models_dir: Folder of downloaded models; known models that are there can be chosen.
        models_file: Path of ``models.toml``; it may be missing.
        ready: Returns whether a known model is on the disk; without it, known models are not offered.

    Raises:
        UnknownModel: There is no such default.
    """
    own = read(Path(models_file)) if models_file else ModelsFile()
    default = next((spec for spec in own.specs if spec.profile.name == model), None) or _spec(model, own)
    name = default.profile.name
    problems = own.problems
    found = {name: default}
    for spec in own.specs:
        if spec is not default and spec.profile.name == name:
            taken = f"the name is taken by EASEL_MODEL, which is {model!r}; give the table another name"
            problems += (f"{models_file}, [{name}]: {taken}.",)
        else:
            found[spec.profile.name] = spec
    for spec in known_models():
        # The demo is for trying Easel out and is not offered next to a real model. A rejected table is not replaced
        # by a known model of the same name.
        offered = spec.profile.name not in {DEMO, *found, *own.rejected}
        if ready is not None and offered and ready(spec, models_dir):
            found[spec.profile.name] = spec
    return Catalogue(tuple(found.values()), problems)


def batch(recipe: Recipe) -> int:
    """Return how many recipes of this size are worth drawing in one batch, 1 to 8."""
    return batch_of(recipe.width * recipe.height)


def batch_of(pixels: int) -> int:
    """Return how many pictures of ``pixels`` pixels each are worth drawing in one batch, 1 to 8."""
    return max(1, min(_BATCH_MOST, _BATCH_PIXELS // max(1, pixels)))


def _spec(model: str, own: ModelsFile) -> ModelSpec:
    # A table called demo does not replace the bundled model.
    if model in own.rejected and model != DEMO:
        raise UnknownModel(own.rejected[model])
    for spec in known_models():
        if model.lower() in (spec.profile.name, spec.profile.source.lower()):
            return spec
    try:
        folder = Path(model).expanduser()
        is_folder = folder.is_dir()
    except (OSError, RuntimeError):  # no valid path, or an unknown user
        is_folder = False
    if is_folder:
        return ModelSpec(profile_of(folder))
    mine = "".join(f"{spec.profile.name}, " for spec in own.specs)
    choices = ", ".join(p.name if p.name == DEMO else p.source for p in (spec.profile for spec in known_models()))
    raise UnknownModel(
        f"There is no model {model!r}: set EASEL_MODEL to {mine}{choices}, to a folder with a diffusers pipeline, "
        f"or to a name in models.toml.{' ' if own.unreadable else ''}{own.unreadable}"
    )
