"""What a server has of a workflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.comfy.inventory import NodeInfo, fit
from engine.comfy.workflow import Workflow, read_workflows
from engine.contract import Recipe
from engine.families.sd15.spec import sd15

CHECKPOINT = "v1-5-pruned-emaonly.safetensors"
RECIPE = Recipe("a", "sd15", "a cat", "", 512, 512, 20, 7.0, 1)


@pytest.fixture
def workflow() -> Workflow:
    return read_workflows(Path("nowhere"), [sd15()]).found["sd15"]


def classes(workflow: Workflow, choices: Any) -> dict[str, NodeInfo]:
    found: dict[str, NodeInfo] = {name: {"input": {"required": {}}} for name in workflow.classes}
    found["CheckpointLoaderSimple"] = {"input": {"required": {"ckpt_name": choices}}}
    found["PreviewImage"] = {"input": {"required": {"images": ["IMAGE"]}}, "output_node": True}
    return found


@pytest.mark.parametrize(
    ("choices", "chosen"),
    [
        ([["other.ckpt", CHECKPOINT]], CHECKPOINT),
        ([[CHECKPOINT], {"tooltip": "a file"}], CHECKPOINT),
        (["COMBO", {"options": [CHECKPOINT]}], CHECKPOINT),
        ([["SD15/" + CHECKPOINT]], "SD15/" + CHECKPOINT),
        ([["SD15\\" + CHECKPOINT]], "SD15\\" + CHECKPOINT),
        ([["v1-5-pruned.safetensors", "v1-5-pruned-emaonly-fp16.safetensors"]], "v1-5-pruned-emaonly-fp16.safetensors"),
    ],
)
def test_a_file_is_found_by_its_name(workflow: Workflow, choices: Any, chosen: str) -> None:
    found = fit(workflow, classes(workflow, choices))
    assert found.ok
    assert found.chosen == {("model", "ckpt_name"): chosen}
    assert not found.sentence(workflow)
    assert workflow.filled(RECIPE, found.chosen)["model"]["inputs"]["ckpt_name"] == chosen


def test_files_and_nodes_that_are_not_there_are_named(workflow: Workflow) -> None:
    known = classes(workflow, [["other.ckpt", 5, None]])
    del known["VAEDecode"]
    found = fit(workflow, known)
    assert not found.ok
    sentence = found.sentence(workflow)
    assert "lacks VAEDecode, ckpt_name v1-5-pruned-emaonly.safetensors / " in sentence
    assert "Stable Diffusion v1.5" in sentence


def test_a_workflow_without_an_output_node_is_said_to_have_none(workflow: Workflow) -> None:
    known = classes(workflow, [[CHECKPOINT]])
    known["PreviewImage"] = {"input": {}}
    assert "no output node; add PreviewImage or SaveImage" in fit(workflow, known).sentence(workflow)


@pytest.mark.parametrize(
    "info", [{}, {"input": None}, {"input": {"required": []}}, {"input": {"required": {"ckpt_name": 5}}}]
)
def test_what_no_server_says_is_no_choice(workflow: Workflow, info: NodeInfo) -> None:
    known = {**classes(workflow, [[CHECKPOINT]]), "CheckpointLoaderSimple": info}
    assert fit(workflow, known).chosen == {}
