"""Workflows with placeholders: what is refused, and what a recipe becomes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.comfy.workflow import Workflow, alternatives, parse_graph, read_workflows, workflow_of, written
from engine.contract import BadRecipe, NegativePromptSupport, Profile, Recipe, UnknownModel
from engine.families.registry import known_models
from engine.families.sd15.spec import sd15
from engine.families.sdxl.spec import sdxl
from engine.families.z_image.spec import z_image_turbo

MAIN = (z_image_turbo(), sdxl(), sd15())

RECIPE = Recipe("a", "sd15", "a (red:1.3) cat", "blur", 512, 768, 20, 6.5, 2**63 - 1)

SMALL: Mapping[str, Any] = {
    "1": {"class_type": "CLIPTextEncode", "inputs": {"text": "{prompt}, {width}x{height}", "clip": ["2", 1]}},
    "2": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
    "3": {"class_type": "KSampler", "inputs": {"seed": "{seed}", "cfg": "{guidance}", "positive": ["1", 0]}},
}


def small(**changes: Any) -> str:
    return json.dumps({**SMALL, **changes})


def shipped(profiles: tuple[Profile, ...] = MAIN) -> Mapping[str, Workflow]:
    return read_workflows(Path("nowhere"), profiles).found


def test_the_main_models_have_workflows_that_take_all_of_a_recipe() -> None:
    assert list(shipped()) == ["z-image-turbo", "sdxl", "sd15"]
    for name, workflow in shipped().items():
        graph = workflow.filled(replace(RECIPE, model=name), {})
        (sampler,) = (node["inputs"] for node in graph.values() if node["class_type"] == "KSampler")
        (latent,) = (node["inputs"] for node in graph.values() if node["class_type"].startswith("Empty"))
        assert (sampler["seed"], sampler["steps"]) == (2**63 - 1, 20)
        assert (latent["width"], latent["height"]) == (512, 768)
        assert sampler["cfg"] == (1.0 if name == "z-image-turbo" else 6.5)
        assert not workflow.profile.can
        assert not workflow.profile.samplers
        texts = [node["inputs"]["text"] for node in graph.values() if "text" in node["inputs"]]
        weighted = "a (red:1.3000) cat"
        assert texts == (["a (red:1.3) cat"] if name == "z-image-turbo" else [weighted, "blur"])


def test_whole_values_become_numbers_and_parts_stay_text() -> None:
    workflow = workflow_of(small(), sd15(), "a.json")
    graph = workflow.filled(replace(RECIPE, prompt="{seed} {prompt}"), {("2", "ckpt_name"): "below/a.safetensors"})
    assert graph["3"]["inputs"] == {"seed": 2**63 - 1, "cfg": 6.5, "positive": ["1", 0]}
    # What somebody typed is no placeholder.
    assert graph["1"]["inputs"]["text"] == "{seed} {prompt}, 512x768"
    assert graph["2"]["inputs"]["ckpt_name"] == "below/a.safetensors"


def test_what_a_workflow_does_not_take_its_model_does_not_offer() -> None:
    profile = workflow_of(small(), sd15(), "a.json").profile
    assert profile.negative is NegativePromptSupport.NEVER
    assert (profile.steps.low, profile.steps.high) == (25, 25)
    assert profile.guidance == sd15().guidance


def test_half_a_letter_is_no_prompt() -> None:
    with pytest.raises(BadRecipe, match="surrogate"):
        shipped()["sd15"].filled(replace(RECIPE, prompt="half: \ud800"), {})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "API format"),
        ("{}", "API format"),
        (json.dumps({"nodes": [], "links": [], "version": 0.4}), r"Export \(API\)"),
        (json.dumps({"1": {"class_type": "KSampler"}}), "node '1' is not in ComfyUI's API format"),
        (json.dumps({"1": []}), "node '1'"),
        (
            small(**{"3": {"class_type": "KSampler", "inputs": {"positive": ["9", 0]}}}),
            "linked to '9', which is no node",
        ),
        (small(**{"4": {"class_type": "A", "inputs": {"b": "{cfg}"}}}), r"no placeholder {cfg}; there are {prompt}"),
        (small(**{"4": {"class_type": "A", "inputs": {"b": [{"c": "{cfg}"}]}}}), r"no placeholder {cfg}"),
        (small(**{"3": {"class_type": "KSampler", "inputs": {}}}), r"write {seed} where"),
    ],
)
def test_what_is_no_template_is_refused_in_one_sentence(text: str, problem: str) -> None:
    with pytest.raises(UnknownModel, match=problem) as refused:
        parse_graph(text, "comfy/sdxl.json")
    assert str(refused.value).startswith("comfy/sdxl.json: ")
    assert "\n" not in str(refused.value)


def test_the_operators_workflow_replaces_easels_also_where_it_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "sd15.json").write_text(small(), encoding="utf-8")
    (tmp_path / "sdxl.json").write_text("{", encoding="utf-8")
    (tmp_path / "nobody.json").write_text(small(), encoding="utf-8")
    (tmp_path / "z-image-turbo.json").mkdir()
    (tmp_path / "notes.txt").write_text("not read", encoding="utf-8")
    found = read_workflows(tmp_path, MAIN)
    assert {name: each.shipped for name, each in found.found.items()} == {"sd15": False}
    assert found.found["sd15"].graph == SMALL
    assert len(found.problems) == 3
    assert [problem for problem in found.problems if "no model 'nobody'" in problem and "sd15, sdxl" in problem]


def test_a_model_that_needs_a_picture_has_no_workflow() -> None:
    with pytest.raises(UnknownModel, match="reference picture"):
        workflow_of(small(), replace(sdxl(), needs_reference=True), "a.json")


def test_names_of_files_may_have_alternatives() -> None:
    assert alternatives("{ a.safetensors | b c.ckpt }") == ("a.safetensors", "b c.ckpt")
    assert alternatives("a.safetensors") == ("a.safetensors",)
    assert alternatives("{a}") == ("{a}",)


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("a cat", "a cat"),
        ("a (cat)", "a (cat:1.1000)"),
        ("a [cat]", "a (cat:0.9091)"),
        ("((cat))", "(cat:1.2100)"),
        (r"a \(literal\) cat", r"a \(literal\) cat"),
        ("unbalanced )", r"unbalanced \)"),
        ("a cat BREAK a dog", "a cat, a dog"),
        ("an embedding:secret cat", "an embedding secret cat"),
        ("", ""),
    ],
)
def test_weights_are_written_as_comfyui_reads_them(prompt: str, found: str) -> None:
    assert written(prompt, weighted=True) == found


def test_a_prompt_without_weights_is_sent_as_it_is() -> None:
    assert written("a (cat) BREAK [x]", weighted=False) == "a (cat) BREAK [x]"


@given(st.text(st.sampled_from("ab ()[]:\\.19BREAK\n")))
def test_every_prompt_has_a_form_with_pairs_of_brackets(prompt: str) -> None:
    bare = written(prompt, weighted=True).replace("\\(", "").replace("\\)", "")
    assert bare.count("(") == bare.count(")")


def test_every_known_model_of_a_workflow_is_one_that_easel_knows() -> None:
    assert shipped(tuple(spec.profile for spec in known_models())).keys() == shipped().keys()


def test_the_digest_follows_the_workflow_its_files_and_the_version() -> None:
    one = shipped()["sd15"]
    digests = {
        one.digest({}, "1"),
        one.digest({}, "2"),
        one.digest({("1", "ckpt_name"): "a"}, "1"),
        shipped()["sdxl"].digest({}, "1"),
    }
    assert len(digests) == 4
    assert one.digest({}, "1") == shipped()["sd15"].digest({}, "1")
