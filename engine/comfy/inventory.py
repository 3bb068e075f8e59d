"""What a ComfyUI server has of what a workflow needs: node classes, model files and other choices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.comfy.workflow import Workflow, alternatives

NodeInfo = Mapping[str, Any]
"""What ``GET /object_info/<class>`` says of a node class."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How a workflow fits a server.

    Attributes:
        chosen: What the server calls each file or other choice, by node and input.
        nodes: Node classes that the server lacks.
        files: Files and other choices that it lacks, each as ``<input> <value>``.
        no_output: Whether none of its nodes gives a picture.
    """

    chosen: Mapping[tuple[str, str], str] = field(default_factory=dict)
    nodes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    no_output: bool = False

    @property
    def ok(self) -> bool:
        """Whether the server can run it."""
        return not (self.nodes or self.files or self.no_output)

    @property
    def lacks(self) -> str:
        """What is not there, as a list for people."""
        return ", ".join((*self.nodes, *self.files))

    def sentence(self, workflow: Workflow) -> str:
        """Return why the server can't run it, as one sentence; empty if it can."""
        if self.nodes or self.files:
            return f"{workflow.profile.title} can't be drawn by this ComfyUI server, which lacks {self.lacks}."
        if self.no_output:
            return f"{workflow.where}: it has no output node; add PreviewImage or SaveImage behind the picture."
        return ""


def fit(workflow: Workflow, classes: Mapping[str, NodeInfo]) -> Fit:
    """Return how a workflow fits a server.

    Args:
        workflow: The workflow.
        classes: The server's node classes by name, at least those of the workflow that it has.
    """
    chosen: dict[tuple[str, str], str] = {}
    files: list[str] = []
    for node, each in workflow.graph.items():
        offered = dict(_choices(classes.get(each["class_type"], {})))
        for key, value in each["inputs"].items():
            if key not in offered or not isinstance(value, str):
                continue
            names = alternatives(value)
            found = _find(names, offered[key])
            if found is None:
                files.append(f"{key} {' / '.join(name[:100] for name in names)}")
            else:
                chosen[node, key] = found
    nodes = sorted(workflow.classes - classes.keys())
    outputs = any(classes.get(name, {}).get("output_node") is True for name in workflow.classes)
    return Fit(chosen, tuple(nodes), tuple(dict.fromkeys(files)), not (nodes or outputs))


def _choices(info: NodeInfo) -> Iterator[tuple[str, Sequence[object]]]:
    """Yield the inputs of a node class that have choices. Servers have two forms of them."""
    inputs = info.get("input")
    for kind in ("required", "optional"):
        group = inputs.get(kind) if isinstance(inputs, dict) else None
        for key, given in group.items() if isinstance(group, dict) else ():
            match given:
                case [list() as offered, *_] | ["COMBO", {"options": list() as offered}, *_]:
                    yield key, offered


def _find(names: Sequence[str], offered: Iterable[object]) -> str | None:
    """Return the server's name of the first file that it has; it may lie in a folder below the one of its kind."""
    known = [each for each in offered if isinstance(each, str)]
    exact = set(known)
    for name in names:
        if name in exact:
            return name
        base = _base(name)
        below = next((each for each in known if _base(each) == base), None)
        if below is not None:
            return below
    return None


def _base(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]
