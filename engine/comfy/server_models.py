"""The models that one ComfyUI server draws: the workflows, and how they fit the server when it was last looked at."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from engine.comfy import probe
from engine.comfy.client import ComfyClient, ServerInfo
from engine.comfy.inventory import Fit
from engine.comfy.workflow import Workflow
from engine.contract import EngineError, Profile, PromptOnly, Recipe, UnknownModel

log = logging.getLogger(__name__)


class ServerModels:
    """Workflows, and what a server has of them. It keeps what it knows while the server is away.

    Args:
        workflows: By the name of the model; at least one.
        about: What log lines begin with.
    """

    def __init__(self, workflows: Mapping[str, Workflow], about: str) -> None:
        self._workflows = dict(workflows)
        self._about = about
        self._fits: Mapping[str, Fit] = {}
        self._version = ""
        self._told: set[str] = set()

    @property
    def known(self) -> frozenset[str]:
        """Models that have a workflow."""
        return frozenset(self._workflows)

    @property
    def drawable(self) -> tuple[str, ...]:
        """Models that the server can draw; none before it has said what it has."""
        return tuple(name for name, found in self._fits.items() if found.ok)

    @property
    def offered(self) -> tuple[str, ...]:
        """Models that the server can draw; where there are none, all that have a workflow."""
        return self.drawable or tuple(self._workflows)

    @property
    def complete(self) -> bool:
        """Whether the server has lacked nothing."""
        return all(found.ok for found in self._fits.values())

    @property
    def problem(self) -> str:
        """Why the first model can't be drawn, as one sentence; empty if it can, and before the first look."""
        return next((found.sentence(self._workflows[name]) for name, found in self._fits.items()), "")

    def profiles(self) -> tuple[Profile, ...]:
        """Return the profiles of ``offered``."""
        return tuple(self._workflows[name].profile for name in self.offered)

    def refusal(self, recipe: Recipe) -> EngineError | None:
        """Return why a recipe can't be drawn on any ComfyUI server; None where it can."""
        if recipe.model not in self._workflows:
            return UnknownModel(f"There is no model {recipe.model!r} here.")
        if not recipe.plain:
            title = self._workflows[recipe.model].profile.title
            return PromptOnly(f"The ComfyUI server draws {title} from a prompt alone.")
        return None

    async def look(self, client: ComfyClient, info: ServerInfo) -> None:
        """Find out which models the server can draw, and log what it lacks, once each. Raises ServerLost."""
        self._version = info.version
        self._fits = await probe.fits(client, self._workflows)
        for name, found in self._fits.items():
            sentence = found.sentence(self._workflows[name])
            if sentence and sentence not in self._told:
                self._told.add(sentence)
                # Nobody has asked for a workflow of Easel's own.
                shipped = self._workflows[name].shipped
                log.log(logging.INFO if shipped else logging.WARNING, "%s%s", self._about, sentence)

    def graph(self, recipe: Recipe) -> Mapping[str, Any]:
        """Return the workflow of a recipe's model, filled in, after the first look.

        Raises:
            UnknownModel: The server can't draw the model.
        """
        workflow, found = self._workflows[recipe.model], self._fits[recipe.model]
        if not found.ok:
            raise UnknownModel(found.sentence(workflow))
        return workflow.filled(recipe, found.chosen)

    def setup(self, model: str) -> str:
        """Return the setup that pictures of a model are drawn with, after the first look: see ``contract.Image``."""
        return f"comfyui-{self._workflows[model].digest(self._fits[model].chosen, self._version)}"
