"""Looks at a ComfyUI server once: what it is, and which models it can draw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from engine.comfy.client import ComfyClient, ServerInfo, ServerLost
from engine.comfy.inventory import Fit, NodeInfo, fit
from engine.comfy.workflow import Workflow

SILENCE = 10.0
"""Seconds that one answer may take."""


@dataclass(frozen=True, slots=True)
class SeenServer:
    """What was seen of a server.

    Attributes:
        info: What it is; None where it can't be reached.
        fits: How each workflow fits it, by model.
        problem: Why it can't be reached, as one sentence; empty where it can.
    """

    info: ServerInfo | None = None
    fits: Mapping[str, Fit] = field(default_factory=dict)
    problem: str = ""

    @property
    def drawable(self) -> tuple[str, ...]:
        """The models that it can draw."""
        return tuple(name for name, found in self.fits.items() if found.ok)


async def look(url: str, workflows: Mapping[str, Workflow], silence: float = SILENCE) -> SeenServer:
    """Look at a server.

    Args:
        url: Its address.
        workflows: What it is to draw, by model.
        silence: Seconds for which it may be silent while it answers.
    """
    try:
        async with ComfyClient.opened(url, silence) as client:
            info = await client.info()
            return SeenServer(info, await fits(client, workflows))
    except ServerLost as lost:
        return SeenServer(problem=str(lost))


async def fits(client: ComfyClient, workflows: Mapping[str, Workflow]) -> Mapping[str, Fit]:
    """Return how each workflow fits a server. Raises ServerLost."""
    classes = await _classes(client, frozenset().union(*(each.classes for each in workflows.values())))
    return {name: fit(workflow, classes) for name, workflow in workflows.items()}


async def _classes(client: ComfyClient, names: Iterable[str]) -> Mapping[str, NodeInfo]:
    # All classes at once are some MB, and more with each extension of the server.
    found = {name: await client.node_class(name) for name in sorted(names)}
    return {name: about for name, about in found.items() if about is not None}
