"""Workflows in ComfyUI's API format with placeholders: read, checked, and filled in for a recipe."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from engine.contract import BadRecipe, NegativePromptSupport, Profile, Range, Recipe, UnknownModel
from engine.families.emphasis import parse
from engine.regular_files import TEXT_BYTES, read_text

T = TypeVar("T", int, float)

FOLDER = "comfy"
"""Folder of the operator's workflows, in the data folder."""

SUFFIX = ".json"

FAMILY = "comfyui"
"""Family of all models as servers draw them: LoRAs of the models' own families are not for them."""

Graph = Mapping[str, Mapping[str, Any]]
"""Nodes by id, each with ``class_type`` and ``inputs``."""

_VALUES: Mapping[str, Callable[[Recipe], str | int | float]] = {
    "prompt": lambda recipe: recipe.prompt,
    "negative": lambda recipe: recipe.negative,
    "seed": lambda recipe: recipe.seed,
    "width": lambda recipe: recipe.width,
    "height": lambda recipe: recipe.height,
    "steps": lambda recipe: recipe.steps,
    "guidance": lambda recipe: recipe.guidance,
}

_TEXTS = frozenset({"prompt", "negative"})

_NEEDED = ("prompt", "seed", "width", "height")
"""Without one of them, a workflow would not draw what was requested."""

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")

_ALTERNATIVES = re.compile(r"\{([^{}]*\|[^{}]*)\}")

_ROUNDED = 1e-4
"""Weights of words are written to this accuracy."""


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow that draws a model.

    Attributes:
        profile: The model, with what a workflow can do of it.
        graph: The nodes, with placeholders.
        where: What messages call it: a path, or ``Easel's own workflow of <model>``.
        shipped: Whether it is Easel's own.
    """

    profile: Profile
    graph: Graph
    where: str
    shipped: bool = False

    @property
    def classes(self) -> frozenset[str]:
        """The classes of its nodes."""
        return frozenset(node["class_type"] for node in self.graph.values())

    def filled(self, recipe: Recipe, chosen: Mapping[tuple[str, str], str]) -> dict[str, Any]:
        """Return the graph that draws a recipe.

        Args:
            recipe: The recipe, of this model.
            chosen: What the server calls each file, by node and input.

        Raises:
            BadRecipe: The prompt is no text.
        """
        try:
            (recipe.prompt + recipe.negative).encode()
        except UnicodeEncodeError:
            raise BadRecipe("The prompt is no text: it holds half a surrogate pair.") from None
        values = {name: value(recipe) for name, value in _VALUES.items()}
        for name in _TEXTS:
            values[name] = written(str(values[name]), weighted=self.profile.prompt_syntax)
        return {
            node: {
                "class_type": each["class_type"],
                "inputs": {
                    key: chosen[node, key] if (node, key) in chosen else _filled(value, values)
                    for key, value in each["inputs"].items()
                },
            }
            for node, each in self.graph.items()
        }

    def digest(self, chosen: Mapping[tuple[str, str], str], version: str) -> str:
        """Return a short digest of what decides the pixels besides the recipe."""
        files = sorted((*key, value) for key, value in chosen.items())
        parts = json.dumps([self.graph, files, version], sort_keys=True)
        return sha256(parts.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Workflows:
    """The workflows that were found.

    Attributes:
        found: Those that can be used, by the name of their model.
        problems: One sentence for each file that can't.
    """

    found: Mapping[str, Workflow]
    problems: tuple[str, ...] = ()


def read_workflows(folder: Path, profiles: Sequence[Profile]) -> Workflows:
    """Read the workflows that Easel has and those of the operator, which replace them. Blocking.

    Args:
        folder: The operator's; each file is named after a model: ``sdxl.json``. It may be missing.
        profiles: The models that a workflow may be for.
    """
    by_name = {profile.name: profile for profile in profiles}
    found: dict[str, Workflow] = {}
    problems: list[str] = []
    for name, text in _shipped():
        if name in by_name:
            shipped = workflow_of(text, by_name[name], f"Easel's own workflow of {name}")
            found[name] = replace(shipped, shipped=True)
    for path in sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else ():
        # A mistake must not make the shipped one draw something else than the operator wanted.
        found.pop(path.stem, None)
        try:
            if path.stem not in by_name:
                raise UnknownModel(
                    f"{path}: there is no model {path.stem!r}; name the file after one of {', '.join(sorted(by_name))}, "
                    f"or describe the model in models.toml, in a table [comfy.{path.stem}]."
                )
            found[path.stem] = workflow_of(_read(path), by_name[path.stem], str(path))
        except UnknownModel as error:
            problems.append(str(error))
    order = list(by_name)
    return Workflows(dict(sorted(found.items(), key=lambda each: order.index(each[0]))), tuple(problems))


def parse_graph(text: str, where: str) -> Graph:
    """Return the graph that a text holds.

    Args:
        text: JSON.
        where: What the message calls it.

    Raises:
        UnknownModel: It is no workflow with placeholders; one sentence that says what to do.
    """
    try:
        graph = json.loads(text)
        used = _checked(graph, where)
    except ValueError as error:
        raise UnknownModel(f"{where}: it is not JSON ({error}).") from None
    except RecursionError:
        raise UnknownModel(f"{where}: it is nested too deeply.") from None
    unknown = sorted(used - set(_VALUES))
    if unknown:
        known = ", ".join(f"{{{name}}}" for name in _VALUES)
        raise UnknownModel(f"{where}: there is no placeholder {{{unknown[0]}}}; there are {known}.")
    missing = [name for name in _NEEDED if name not in used]
    if missing:
        raise UnknownModel(f"{where}: write {{{missing[0]}}} where the workflow is to take it from the request.")
    found: Graph = graph
    return found


def alternatives(value: str) -> tuple[str, ...]:
    """Return the names that a value stands for, best first: ``{a | b}`` is one of two files."""
    several = _ALTERNATIVES.fullmatch(value.strip())
    return tuple(filter(None, map(str.strip, several[1].split("|")))) if several else (value,)


def written(prompt: str, *, weighted: bool) -> str:
    """Return a prompt as ComfyUI's text encoders read it.

    Args:
        prompt: A prompt, in A1111's syntax if ``weighted``.
        weighted: Whether it may hold weights. ComfyUI has no ``BREAK``: the texts around one are joined by a comma.
    """
    # A word such as "embedding:name" would load a file of the server.
    plain = re.sub(r"(?i)\bembedding\s*:", "embedding ", prompt)
    if not weighted:
        return plain
    sections = ("".join(_emphasised(each.text, each.weight) for each in section) for section in parse(plain))
    return ", ".join(filter(str.strip, sections))


def _emphasised(text: str, weight: float) -> str:
    escaped = re.sub(r"([()])", r"\\\1", text)
    return escaped if abs(weight - 1) < _ROUNDED or not text.strip() else f"({escaped}:{weight:.4f})"


def _shipped() -> Iterator[tuple[str, str]]:
    for file in (resources.files("engine.comfy") / "workflows").iterdir():
        if file.name.endswith(SUFFIX):
            yield file.name.removesuffix(SUFFIX), file.read_text(encoding="utf-8")


def _read(path: Path) -> str:
    try:
        return read_text(path, TEXT_BYTES)
    except UnicodeDecodeError:
        raise UnknownModel(f"{path}: it is no UTF-8; save it as UTF-8.") from None
    except OSError as error:
        raise UnknownModel(f"{path}: it can't be read: {error.strerror or error}.") from None


def workflow_of(text: str, profile: Profile, where: str) -> Workflow:
    """Return the workflow that a text holds.

    Args:
        text: As for ``parse_graph``.
        profile: The model that it draws.
        where: What messages call it.

    Raises:
        UnknownModel: As ``parse_graph``, or no workflow can draw the model.
    """
    graph = parse_graph(text, where)
    if profile.needs_reference:
        raise UnknownModel(
            f"{where}: {profile.title} draws nothing without a reference picture, which no workflow gets."
        )
    used = _checked(graph, where)
    limited = replace(
        profile,
        family=FAMILY,
        can=frozenset(),
        references=0,
        samplers=(),
        clip_skip=0,
        controls=(),
        expands=False,
        negative=profile.negative if "negative" in used else NegativePromptSupport.NEVER,
        steps=profile.steps if "steps" in used else _fixed(profile.steps),
        guidance=profile.guidance if "guidance" in used else _fixed(profile.guidance),
    )
    return Workflow(limited, graph, where)


def _fixed(limits: Range[T]) -> Range[T]:
    return Range(limits.default, limits.default, limits.default)


def _checked(graph: object, where: str) -> set[str]:
    """Return the names of all placeholders. Raises UnknownModel where it is not in the API format."""
    if isinstance(graph, dict) and isinstance(graph.get("nodes"), list):
        raise UnknownModel(
            f"{where}: it is a workflow as ComfyUI's page saves it; export it by Workflow > Export (API) instead."
        )
    if not isinstance(graph, dict) or not graph:
        raise UnknownModel(f"{where}: it is no workflow in ComfyUI's API format, which has nodes by their ids.")
    used: set[str] = set()
    for name, node in graph.items():
        inputs = node.get("inputs") if isinstance(node, dict) else None
        if not isinstance(inputs, dict) or not isinstance(node.get("class_type"), str):
            raise UnknownModel(
                f"{where}: node {name!r} is not in ComfyUI's API format: it needs class_type and inputs."
            )
        for key, value in inputs.items():
            if _is_link(value) and value[0] not in graph:
                raise UnknownModel(
                    f"{where}: input {key!r} of node {name!r} is linked to {value[0]!r}, which is no node."
                )
            used.update(found for text in _texts(value) for found in _PLACEHOLDER.findall(text))
    return used


def _is_link(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int)
        and not isinstance(value[1], bool)
    )


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for each in value.values():
                yield from _texts(each)
        case list():
            for each in value:
                yield from _texts(each)


def _filled(value: Any, values: Mapping[str, str | int | float]) -> Any:
    """Return a value with its placeholders replaced; one that is nothing but a placeholder becomes a number."""
    match value:
        case str():
            whole = _PLACEHOLDER.fullmatch(value.strip())
            if whole is not None:
                return values[whole[1]]
            # In one pass, so that no placeholder in a prompt is replaced.
            return _PLACEHOLDER.sub(lambda found: str(values[found[1]]), value)
        case dict():
            return {key: _filled(each, values) for key, each in value.items()}
        case list():
            return [_filled(each, values) for each in value]
    return value
