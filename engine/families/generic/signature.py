"""Reads what a diffusers pipeline takes from the source of the installed diffusers, without importing it.

The service must not import torch, which diffusers brings with it. Its sources state the same facts: the arguments of
``__call__`` and their defaults, and the parts that ``__init__`` needs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

LIBRARIES = ("diffusers", "transformers")
"""The libraries whose classes may be parts of a pipeline."""

_CALLBACK = "callback_on_step_end"
_OTHER_MEDIA = frozenset(
    {"num_frames", "frames", "num_videos_per_prompt", "num_waveforms_per_prompt", "audio_duration", "video", "duration"}
)
"""Arguments of pipelines that make something else than a picture."""
_BASE = re.compile(r"(?:Img2Img|Inpaint)(?=Pipeline$)")


@dataclass(frozen=True, slots=True)
class Signature:
    """What a pipeline class takes.

    Attributes:
        name: The class.
        arguments: The arguments of ``__call__`` with their defaults; None where a default is no literal or there is
            none.
        lists: Those of them whose annotation speaks of a list of pictures.
        parts: The arguments of ``__init__`` that have no default: the parts that it can't do without.
        schedules: Whether it calls its scheduler's ``step`` by itself.
    """

    name: str
    arguments: Mapping[str, object]
    lists: frozenset[str]
    parts: frozenset[str]
    schedules: bool

    def takes(self, *names: str) -> bool:
        """Whether ``__call__`` has all of these arguments."""
        return self.arguments.keys() >= set(names)

    @property
    def calls_back(self) -> bool:
        """Whether it calls a function that it is given at the end of each step."""
        return _CALLBACK in self.arguments

    @property
    def pausable(self) -> bool:
        """Whether it can be paused between two steps: where it calls back, else in the step of its scheduler."""
        return self.calls_back or self.schedules

    @property
    def draws(self) -> bool:
        """Whether it makes pictures from prompts, and no videos or sounds."""
        return "prompt" in self.arguments and not self.arguments.keys() & _OTHER_MEDIA


@cache
def signature_of(name: str) -> Signature | None:
    """Return the signature of a pipeline class; None where the installed diffusers has no such class."""
    return _read(name, 0)


def base_name(name: str) -> str:
    """Return the class that draws from a prompt where ``name`` starts from a picture; diffusers names them alike."""
    plain = _BASE.sub("", name)
    return plain if plain != name and signature_of(plain) is not None else name


def sibling(name: str, kind: str, parts: frozenset[str]) -> Signature | None:
    """Return the class that draws with the same parts from a picture; None where diffusers has none that can be paused.

    Args:
        name: The class that draws from a prompt.
        kind: ``Img2Img`` or ``Inpaint``.
        parts: The parts of the model.
    """
    found = signature_of(name.removesuffix("Pipeline") + kind + "Pipeline")
    needed = ("image", "mask_image") if kind == "Inpaint" else ("image", "strength")
    able = found is not None and found.pausable and found.takes(*needed) and found.parts <= parts
    return found if able else None


def is_library(name: str) -> bool:
    """Whether a ``model_index.json`` may name this library: diffusers, transformers, or a package of diffusers' pipelines."""
    if name in LIBRARIES:
        return True
    return name.isidentifier() and (_pipelines() / name / "__init__.py").is_file()


def diffusers_version() -> str:
    """Return the version of the installed diffusers."""
    return version("diffusers")


@cache
def _pipelines() -> Path:
    found = find_spec("diffusers")  # finds the package and does not import it
    if found is None or found.origin is None:
        raise ImportError("diffusers is not installed")
    return Path(found.origin).parent / "pipelines"


@cache
def _files() -> Mapping[str, Path]:
    """Return the file of each class of diffusers' pipelines."""
    mark = re.compile(r"^class (\w+Pipeline)\b", re.MULTILINE)
    found: dict[str, Path] = {}
    for path in sorted(_pipelines().rglob("*.py")):
        for name in mark.findall(path.read_text(encoding="utf-8")):
            found.setdefault(name, path)
    return found


def _tree_of(name: str) -> ast.ClassDef | None:
    path = _files().get(name)
    tree = ast.parse(path.read_text(encoding="utf-8")) if path is not None else ast.Module([], [])
    return next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)


def _read(name: str, depth: int) -> Signature | None:
    found = _tree_of(name)
    if found is None:
        return None
    call, init = _method(found, "__call__"), _method(found, "__init__")
    above = None
    if (call is None or init is None) and depth < 5:
        bases = (base.id for base in found.bases if isinstance(base, ast.Name) and base.id.endswith("Pipeline"))
        above = next((read for base in bases if (read := _read(base, depth + 1)) is not None), None)
    empty = Signature(name, {}, frozenset(), frozenset(), schedules=False) if above is None else above
    return Signature(
        name,
        empty.arguments if call is None else _arguments(call),
        empty.lists if call is None else _lists(call),
        empty.parts if init is None else _required(init),
        empty.schedules if call is None else "self.scheduler.step(" in ast.unparse(call),
    )


def _method(of: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    return next((node for node in of.body if isinstance(node, ast.FunctionDef) and node.name == name), None)


def _arguments(call: ast.FunctionDef) -> Mapping[str, object]:
    names = call.args.args[1:]
    without = len(names) - len(call.args.defaults)
    defaults = dict(zip((arg.arg for arg in names[without:]), call.args.defaults, strict=True))
    keywords = zip((arg.arg for arg in call.args.kwonlyargs), call.args.kw_defaults, strict=True)
    defaults |= {name: value for name, value in keywords if value is not None}
    found = (*names, *call.args.kwonlyargs)
    return {arg.arg: _literal(defaults[arg.arg]) if arg.arg in defaults else None for arg in found}


def _lists(call: ast.FunctionDef) -> frozenset[str]:
    annotated = ((arg.arg, ast.unparse(arg.annotation)) for arg in call.args.args if arg.annotation is not None)
    return frozenset(name for name, text in annotated if re.search(r"list\[(?:PIL\.)?Image", text, re.IGNORECASE))


def _required(init: ast.FunctionDef) -> frozenset[str]:
    names = [arg.arg for arg in init.args.args[1:]]
    return frozenset(names[: len(names) - len(init.args.defaults)])


def _literal(node: ast.expr) -> object:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None
