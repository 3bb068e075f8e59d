"""The models that people can choose: the default, those of models.toml, and known ones that are on the disk."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.contract import Capability, Recipe, UnknownModel
from engine.control_catalogue import read_controls, with_controls
from engine.families.registry import DEMO, known_models
from engine.folders import profile_of
from engine.hub import pipelines
from engine.hub.names import is_repo
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
        edit_model: Name of the model that serves edits when the default one can't; empty for none.
        problems: One sentence for each part of ``models_file`` that is left out.
    """

    specs: tuple[ModelSpec, ...]
    problems: tuple[str, ...] = ()
    edit_model: str = ""


def specs(model: str, models_dir: str, models_file: str, ready: Ready | None = None) -> tuple[ModelSpec, ...]:
    """Return the models of ``logged``."""
    return logged(model, models_dir, models_file, ready).specs


def logged(
    model: str, models_dir: str, models_file: str, ready: Ready | None = None, *, edit_model: str = ""
) -> Catalogue:
    """Return ``read_catalogue``, and log an error for each part of ``models_file`` that is left out."""
    found = read_catalogue(model, models_dir, models_file, ready, edit_model=edit_model)
    for problem in found.problems:
        log.error("Left out of the models: %s", problem)
    return found


def read_catalogue(
    model: str, models_dir: str, models_file: str, ready: Ready | None = None, *, edit_model: str = ""
) -> Catalogue:
    """Return every model that people can choose.

    Reads files, so call it at start-up and not on an event loop. A mistake in one table leaves that model out.

    Args:
        model: ``EASEL_MODEL``: a known name or hub id, a folder, a name in ``models_file``, or the hub id of any other
            pipeline that was downloaded.
        models_dir: Folder of downloaded models; known models that are there can be chosen.
        models_file: Path of ``models.toml``; it may be missing.
        ready: Returns whether a known model is on the disk; without it, known models are not offered.
        edit_model: ``EASEL_EDIT_MODEL``, named as ``model``; people can choose it also where it is not on the disk yet.

    Raises:
        UnknownModel: There is no such default or no such model for edits, or that can't edit.
    """
    own = read(Path(models_file), models_dir) if models_file else ModelsFile()
    default = _spec(model, models_dir, own, "EASEL_MODEL")
    name = default.profile.name
    problems = own.problems
    found = {name: default}
    edits = _edit_spec(edit_model, models_dir, own) if edit_model else None
    if edits is not None and found.setdefault(edits.profile.name, edits) != edits:
        raise UnknownModel(
            f"EASEL_EDIT_MODEL is {edit_model!r}, and EASEL_MODEL has another model of the name {name!r}; rename one of them."
        )
    for spec in own.specs:
        chosen = found.get(spec.profile.name, spec)
        if chosen is not spec:
            setting = (
                f"EASEL_MODEL, which is {model!r}"
                if chosen is default
                else f"EASEL_EDIT_MODEL, which is {edit_model!r}"
            )
            taken = f"the name is taken by {setting}; give the table another name"
            problems += (f"{models_file}, [{spec.profile.name}]: {taken}.",)
        else:
            found[spec.profile.name] = spec
    for spec in known_models():
        # The demo is for trying Easel out and is not offered next to a real model. A rejected table is not replaced
        # by a known model of the same name.
        offered = spec.profile.name not in {DEMO, *found, *own.rejected}
        if ready is not None and offered and ready(spec, models_dir):
            found[spec.profile.name] = spec
    controls = read_controls(models_file)
    return Catalogue(
        tuple(with_controls(spec, controls.specs) for spec in found.values()),
        (*problems, *controls.problems),
        edits.profile.name if edits else "",
    )


def batch(recipe: Recipe) -> int:
    """Return how many recipes of this size are worth drawing in one batch, 1 to 8."""
    return batch_of(recipe.width * recipe.height)


def batch_of(pixels: int) -> int:
    """Return how many pictures of ``pixels`` pixels each are worth drawing in one batch, 1 to 8."""
    return max(1, min(_BATCH_MOST, _BATCH_PIXELS // max(1, pixels)))


def _edit_spec(model: str, models_dir: str, own: ModelsFile) -> ModelSpec:
    """Return the model of EASEL_EDIT_MODEL. Raises UnknownModel if there is none, or if it can't edit."""
    spec = _spec(model, models_dir, own, "EASEL_EDIT_MODEL", _can_edit)
    if not _can_edit(spec):
        able = filter(_can_edit, (*own.specs, *known_models()))
        names = ", ".join(dict.fromkeys(known.profile.name for known in able))
        advice = f"set it to one that can: {names}" if names else "leave it empty"
        raise UnknownModel(f"EASEL_EDIT_MODEL is {model!r}, and {spec.profile.title} can't edit pictures; {advice}.")
    return spec


def _can_edit(spec: ModelSpec) -> bool:
    return Capability.EDIT in spec.profile.can


def _spec(
    model: str,
    models_dir: str,
    own: ModelsFile,
    setting: str,
    offered: Callable[[ModelSpec], bool] = lambda _: True,
) -> ModelSpec:
    """Return the model that a setting names. Raises UnknownModel, which names the models that are ``offered``."""
    for spec in own.specs:
        if spec.profile.name == model:
            return spec
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
    if is_repo(model):
        if (profile := pipelines.profile(model, models_dir)) is not None:
            return ModelSpec(profile)
        raise UnknownModel(
            f"{setting} is {model!r}: there is no such folder, and a model on a hub that Easel does not know by name must "
            f"be downloaded before it starts, so run `easel model pull {model}` first; `easel model list` shows the known "
            f"ones, which need no pull.{' ' if own.unreadable else ''}{own.unreadable}"
        )
    mine = [spec.profile.name for spec in filter(offered, own.specs)]
    known = [
        spec.profile.name if spec.profile.name == DEMO else spec.profile.source
        for spec in known_models()
        if offered(spec)
    ]
    choices = "".join(f"{choice}, " for choice in (*mine, *known))
    raise UnknownModel(
        f"There is no model {model!r}: set {setting} to {choices}to a folder with a diffusers pipeline, "
        f"to the hub id of one that was pulled, or to a name in models.toml.{' ' if own.unreadable else ''}{own.unreadable}"
    )
