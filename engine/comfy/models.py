"""Reads the tables ``[comfy.NAME]`` of models.toml: models that only a ComfyUI workflow draws, as people see them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.comfy.workflow import FAMILY
from engine.contract import NegativePromptSupport, Profile, Range, UnknownModel
from engine.families.spec import presets, priced
from engine.model_tables import COMFY, MAX_TITLE, NAME, Listed, Text, named_tables

_STEPS, _GUIDANCE, _SIDE = 200, 30.0, 4096
_ASSUMED: Mapping[str, int] = MappingProxyType({"transformer": 6_000_000_000})
"""Parameters that a model is assumed to have, for its cost."""


class _Table(BaseModel):
    """The keys of a table."""

    model_config = ConfigDict(strict=True, extra="forbid")

    title: Annotated[Text, Field(min_length=1, max_length=MAX_TITLE)]
    side: Annotated[int, Field(ge=64, le=_SIDE)] = 1024
    multiple: Annotated[int, Field(ge=1, le=256)] = 16
    steps: Annotated[int, Field(ge=1, le=_STEPS)] = 20
    guidance: Annotated[float, Field(ge=0, le=_GUIDANCE, allow_inf_nan=False)] = 1.0
    prompt_chars: Annotated[int, Field(ge=100, le=10_000)] = 2000
    weights: bool = False
    languages: Annotated[list[Annotated[Text, Field(min_length=2, max_length=3)]], Listed, Field(min_length=1)] = ["en"]
    licence: Annotated[Text, Field(max_length=MAX_TITLE)] = ""
    who: Annotated[list[Annotated[Text, Field(min_length=1, max_length=100)]], Listed, Field(min_length=1)] = [
        "everyone"
    ]


_WANTED: Mapping[str, str] = {
    "title": f"it must be a text of at most {MAX_TITLE} characters",
    "side": f"it must be the side of a usual picture in pixels, 64 to {_SIDE}",
    "multiple": "it must be a whole number from 1 to 256",
    "steps": f"it must be a whole number from 1 to {_STEPS}",
    "guidance": f"it must be a number from 0 to {_GUIDANCE:g}",
    "prompt_chars": "it must be a whole number from 100 to 10000",
    "weights": "it must be true or false",
    "languages": 'it must be a language or a list of some, such as ["en", "zh"]',
    "licence": f"it must be a text of at most {MAX_TITLE} characters",
    "who": 'it must be "everyone", "admins" or a list of roles, such as ["admins", "1234567890"]',
}


def read_models(models_file: str, taken: Collection[str]) -> tuple[tuple[Profile, ...], tuple[str, ...]]:
    """Return the models of the tables, and one sentence for each table that has a mistake.

    Args:
        models_file: Path of ``models.toml``; it may be missing or empty.
        taken: Names of the models that Easel has already.
    """
    found: list[Profile] = []
    problems: list[str] = []
    try:
        for name, table in named_tables(models_file, COMFY):
            try:
                found.append(_profile(models_file, name, table, taken))
            except UnknownModel as error:
                problems.append(str(error))
    except UnknownModel as error:
        problems.append(str(error))
    return tuple(found), tuple(problems)


def _profile(models_file: str, name: str, table: object, taken: Collection[str]) -> Profile:
    def fail(key: str, problem: str) -> NoReturn:
        raise UnknownModel(f"{models_file}, [{COMFY}.{name}]{', ' if key else ''}{key}: {problem}.")

    if not NAME.fullmatch(name) or not isinstance(table, dict):
        fail(
            "", "each model is a table of its own, whose name is up to 40 lower-case letters, digits, '.', '_' and '-'"
        )
    if name in taken:
        fail("", "there is a model of this name already, which needs no table")
    try:
        given = _Table.model_validate(table)
    except ValidationError as error:
        key = str(error.errors(include_input=False, include_url=False)[0]["loc"][0])
        fail(key, _WANTED.get(key, f"there is no such key; there are {', '.join(_WANTED)}"))
    if given.side % given.multiple:
        fail("side", f"it must be a multiple of {given.multiple}, as all sides are")

    def near(length: int) -> int:
        return max(1, length // given.multiple) * given.multiple

    profile = Profile(
        name=name,
        title=given.title,
        source=name,
        family=FAMILY,
        multiple=given.multiple,
        side=Range(given.side, near(given.side // 2), near(min(given.side * 2, _SIDE))),
        presets=presets(given.side, given.multiple),
        steps=Range(given.steps, 1, max(50, min(given.steps * 2, _STEPS))),
        guidance=Range(given.guidance, 0.0, max(20.0, given.guidance)),
        negative=NegativePromptSupport.WITH_GUIDANCE,
        prompt_chars=given.prompt_chars,
        languages=tuple(given.languages),
        licence=given.licence,
        can=frozenset(),
        prompt_syntax=given.weights,
        who=tuple(given.who),
    )
    return replace(profile, cost=priced(replace(profile, parameters=_ASSUMED)).cost)
