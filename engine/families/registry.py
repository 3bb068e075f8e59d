"""Finds the model families: each is a folder of this package with a ``spec.py`` and a ``model.py``.

Nothing here imports torch; ``model_class`` does, through the family's ``model.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from engine import families
from engine.families.spec import FamilySpec
from engine.spec import ModelSpec

DEMO = "demo"
"""Name of the bundled model, also as ``EASEL_MODEL``."""


@cache
def specs() -> Mapping[str, FamilySpec]:
    """Return the spec of every family by its name, the newest family first."""
    found: list[FamilySpec] = [
        import_module(f"{families.__name__}.{module.name}.spec").SPEC
        for module in iter_modules(families.__path__)
        if module.ispkg
    ]
    return {spec.name: spec for spec in sorted(found, key=lambda spec: spec.released, reverse=True)}


def spec_of(name: str) -> FamilySpec:
    """Return the spec of a family; raises KeyError where there is no such family."""
    return specs()[name]


def of_pipeline(class_name: str) -> FamilySpec | None:
    """Return the family that draws a pipeline of this diffusers class; None where none is made for it."""
    return next((spec for spec in specs().values() if class_name in spec.pipelines), None)


def of_any_pipeline() -> FamilySpec:
    """Return the family that draws with pipelines that no other family is made for; its ``describe`` says which."""
    return next(spec for spec in specs().values() if spec.describe is not None)


def any_call(name: str) -> bool:
    """Whether pictures of this family are drawn by their pipeline's own call, whatever its class."""
    return spec_of(name).describe is not None


def model_class(name: str) -> type[Any]:
    """Import a family's ``model.py``, and torch with it; return its subclass of ``engine.families.family.Family``.

    Raises:
        KeyError: There is no such family.
    """
    found: type[Any] = getattr(import_module(f"{families.__name__}.{name}.model"), spec_of(name).model_class)
    return found


def known_models() -> tuple[ModelSpec, ...]:
    """Return every model that Easel knows by name, the bundled one first."""
    found = [model for spec in specs().values() for model in spec.models]
    return tuple(sorted(found, key=lambda model: model.profile.name != DEMO))
