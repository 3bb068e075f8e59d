"""Every model that can be asked for: the default, the operator's own, and what is on the disk already."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.contract import Profile, Recipe, UnknownModel
from engine.folders import profile_of
from engine.models_file import ModelsFile, read
from engine.profiles import DEMO, demo, known, z_image_turbo
from engine.spec import ModelSpec

__all__ = [
    "DEMO",
    "Catalogue",
    "Ready",
    "batch",
    "batch_of",
    "demo",
    "known",
    "profile_for",
    "read_catalogue",
    "specs",
    "z_image_turbo",
]

Ready = Callable[[ModelSpec, str], bool]
"""Takes a model and the models' folder; tells whether all of its files are there."""

_BATCH_PIXELS = 2**20
"""Pixels that are worth drawing together: one 1024x1024 picture fills a device, small ones need company."""

_BATCH_MOST = 8
"""More pictures in a batch make the first of them wait longer than they save."""


log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The models that can be asked for.

    Attributes:
        specs: The default first; their names are unique.
        problems: What of ``models_file`` is left out, and why: one sentence each.
    """

    specs: tuple[ModelSpec, ...]
    problems: tuple[str, ...] = ()


def specs(model: str, models_dir: str, models_file: str, ready: Ready | None = None) -> tuple[ModelSpec, ...]:
    """Return the models of ``read_catalogue``; what is left out of ``models_file`` is an error in the log."""
    found = read_catalogue(model, models_dir, models_file, ready)
    for problem in found.problems:
        log.error("Left out of the models: %s", problem)
    return found.specs


def read_catalogue(model: str, models_dir: str, models_file: str, ready: Ready | None = None) -> Catalogue:
    """Return every model that can be asked for.

    Reads ``models_file`` and small files of folders, so it is for start-up, not for an event loop. A mistake in one
    table leaves that model out.

    Args:
        model: ``EASEL_MODEL``: a known name or hub id, a folder, or a name in ``models_file``.
        models_dir: Where downloaded models are kept; known ones that are there can be asked for.
        models_file: Path of ``models.toml``; it need not be there.
        ready: Tells whether a known model is on the disk; without it, they are not looked for.

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
    for spec in known():
        # The demo is not offered beside a real model: it is for trying Easel out. A table that is left out is not
        # replaced by another model of its name.
        offered = spec.profile.name not in {DEMO, *found, *own.rejected}
        if ready is not None and offered and ready(spec, models_dir):
            found[spec.profile.name] = spec
    return Catalogue(tuple(found.values()), problems)


def profile_for(model: str) -> Profile:
    """Return the profile for ``EASEL_MODEL``: ``demo``, the hub id or the name of a known model, or a folder.

    Reads a folder's small JSON files, so it is for start-up, not for an event loop.

    Raises:
        UnknownModel: No such model, or a folder that holds no pipeline that Easel can draw with; says which and why.
    """
    return _spec(model, ModelsFile()).profile


def batch(recipe: Recipe) -> int:
    """Return how many recipes of this size are worth painting together, 1 to 8."""
    return batch_of(recipe.width * recipe.height)


def batch_of(pixels: int) -> int:
    """Return how many pictures of so many pixels are worth painting together, 1 to 8."""
    return max(1, min(_BATCH_MOST, _BATCH_PIXELS // max(1, pixels)))


def _spec(model: str, own: ModelsFile) -> ModelSpec:
    # The demo is there whatever a table of its name says.
    if model in own.rejected and model != DEMO:
        raise UnknownModel(own.rejected[model])
    for spec in known():
        if model.lower() in (spec.profile.name, spec.profile.source.lower()):
            return spec
    try:
        folder = Path(model).expanduser()
        is_folder = folder.is_dir()
    except (OSError, RuntimeError):  # a name that no path can have, a user that is not here
        is_folder = False
    if is_folder:
        return ModelSpec(profile_of(folder))
    mine = "".join(f"{spec.profile.name}, " for spec in own.specs)
    choices = ", ".join(p.name if p.name == DEMO else p.source for p in (spec.profile for spec in known()))
    raise UnknownModel(
        f"There is no model {model!r}: set EASEL_MODEL to {mine}{choices}, to a folder with a diffusers pipeline, "
        f"or to a name in models.toml.{' ' if own.unreadable else ''}{own.unreadable}"
    )
