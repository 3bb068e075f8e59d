"""The models that ComfyUI servers can be asked for: those that Easel or models.toml describes and that have a workflow."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from engine import models_file
from engine.comfy.models import read_models
from engine.comfy.workflow import FOLDER, SUFFIX, Workflow, Workflows, read_workflows
from engine.contract import EngineConfig, Profile, UnknownModel
from engine.families.registry import DEMO, known_models
from engine.model_tables import COMFY

log = logging.getLogger(__name__)


def workflows(config: EngineConfig, data_dir: Path) -> Workflows:
    """Return the workflows for the models of ``models.toml`` and those that Easel knows. Blocking: reads small files.

    Models of its tables ``[comfy.NAME]`` come first.

    Args:
        config: Models.
        data_dir: The data folder, with the operator's workflows in ``comfy``.
    """
    known = _known(config)
    own, problems = read_models(config.models_file, [profile.name for profile in known])
    found = read_workflows(data_dir / FOLDER, (*own, *known))
    missing = tuple(
        f"{config.models_file}, [{COMFY}.{profile.name}]: put its workflow into {data_dir / FOLDER / profile.name}{SUFFIX}."
        for profile in own
        if not (data_dir / FOLDER / f"{profile.name}{SUFFIX}").exists()
    )
    return replace(found, problems=(*problems, *missing, *found.problems))


def logged(config: EngineConfig, data_dir: Path) -> Workflows:
    """Return ``workflows``, and log an error for each file that is left out."""
    found = workflows(config, data_dir)
    for problem in found.problems:
        log.error("Left out of the ComfyUI workflows: %s", problem)
    return found


def alone(found: Workflows, model: str) -> Workflows:
    """Return the workflows where no other device draws: the default model comes first.

    Args:
        found: The workflows.
        model: ``EASEL_MODEL``. The demo, which needs no server, stands for whichever comes first.

    Raises:
        UnknownModel: None of them draws the default model.
    """
    if not found.found:
        raise UnknownModel(" ".join(found.problems) or "There is no ComfyUI workflow that can be used.")
    default = named(found, model)
    if default is None and model != DEMO:
        raise UnknownModel(
            f"EASEL_MODEL is {model!r}, and no ComfyUI workflow draws it: set it to {', '.join(found.found)}, "
            f"or put a workflow for it into {FOLDER}/<model>{SUFFIX} in the data folder."
        )
    first = default.profile.name if default is not None else next(iter(found.found))
    return replace(found, found={first: found.found[first], **found.found})


def named(found: Workflows, model: str) -> Workflow | None:
    """Return the workflow of a model, by its name or its hub id; None where there is none."""
    known = (each for each in found.found.values() if model.lower() in (each.profile.name, each.profile.source.lower()))
    return next(known, None)


def _known(config: EngineConfig) -> tuple[Profile, ...]:
    own = models_file.read(Path(config.models_file), config.models_dir).specs if config.models_file else ()
    found: dict[str, Profile] = {}
    for spec in (*own, *known_models()):
        found.setdefault(spec.profile.name, spec.profile)
    return tuple(found.values())
