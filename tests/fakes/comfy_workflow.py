"""A workflow of a ComfyUI server that draws the demo's profile."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from engine.comfy.workflow import Workflow, read_workflows, workflow_of
from engine.families.sd15.spec import sd15
from engine.families.z_image.spec import demo


def comfy_workflow(name: str = "demo") -> Workflow:
    """Return Stable Diffusion v1.5's workflow for a model of the demo's limits."""
    graph = read_workflows(Path("nowhere"), [sd15()]).found["sd15"].graph
    return workflow_of(json.dumps(graph), replace(demo(), name=name), "the test's workflow")
