"""Control pictures of requests: their kinds and weights, what is refused, and what is shown and written of them."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from bot.cards.job_card import facts_of
from bot.core import requests
from bot.core.errors import BadInput
from bot.core.jobs import JobState
from bot.core.requests import DrawForm, DrawRequest, SourceImage
from bot.drawing.flags import parse, prompt_line
from bot.drawing.request_rules import check_form
from bot.provenance.a1111 import parameters
from engine.families.sd15.spec import sd15
from engine.families.sdxl.spec import sdxl
from engine.families.z_image.spec import demo
from tests.unit.bot.cards.factories import make_job

SDXL = replace(sdxl(), controls=("canny", "depth"))
SOURCE = SourceImage("inputs/a.png", 640, 480)


def ask(prompt: str, source: SourceImage | None = SOURCE, **given: str) -> DrawRequest:
    form = DrawForm(prompt, **given)  # type: ignore[arg-type]  # texts alone
    return check_form(form, (SDXL, sd15(), demo()), 4, random.Random(0), source=source)


@pytest.mark.parametrize(
    ("prompt", "given", "weight"),
    [
        ("a cat --control canny", {}, 1.0),
        ("a cat --control CANNY --control-weight 0.8", {}, 0.8),
        ("a cat —control=canny --control_weight 0,8", {}, 0.8),
        ("a cat", {"control": " Canny ", "control_weight": "2"}, 2.0),
        ("a cat --control depth", {"control": "canny", "control_weight": "0"}, 0.0),
    ],
)
def test_a_kind_and_a_weight_from_flags_and_fields(prompt: str, given: dict[str, str], weight: float) -> None:
    found = ask(prompt, SOURCE, **given)
    assert (found.typed, found.control, found.control_weight) == ("a cat", "canny", weight)
    assert (found.image, found.strength) == (SOURCE.image, 1.0)
    assert (found.width, found.height) == (1152, 896), "the size follows the control picture"


def test_without_control_a_picture_is_where_drawing_starts() -> None:
    found = ask("a cat")
    assert (found.control, found.control_weight, found.strength) == ("", 1.0, 0.6)


@pytest.mark.parametrize(
    ("prompt", "source", "key", "says"),
    [
        ("a cat --control canny", None, "no_image", {"control": "canny"}),
        ("a cat --control pose", SOURCE, "unknown", {"value": "pose", "model": SDXL.title, "known": "canny, depth"}),
        ("a cat --control pose", None, "unknown", {"value": "pose", "model": SDXL.title, "known": "canny, depth"}),
        ("a cat --control canny --model sd15", SOURCE, "other_model", {"model": sd15().title, "known": "sdxl"}),
        ("a cat --control canny", replace(SOURCE, mask="m.png", white=(0, 0, 9, 9)), "mask", {}),
        ("a cat --control canny --strength 0.5", SOURCE, "strength", {}),
        (
            "a cat --control canny --control-weight x",
            SOURCE,
            "weight.not_number",
            {"value": "x", "low": "0", "high": "2"},
        ),
        (
            "a cat --control canny --control-weight 2.1",
            SOURCE,
            "weight.range",
            {"value": "2.1", "low": "0", "high": "2"},
        ),
        ("a cat --control canny --control-weight -1", SOURCE, "weight.range", {"value": "-1", "low": "0", "high": "2"}),
        ("a cat --control-weight 1", SOURCE, "weight.no_control", {}),
    ],
)
def test_what_is_refused(prompt: str, source: SourceImage | None, key: str, says: dict[str, str]) -> None:
    with pytest.raises(BadInput) as refusal:
        ask(prompt, source)
    stem = "refusal.control_" if key.startswith("weight") else "refusal.control."
    assert (refusal.value.key, refusal.value.params) == (stem + key, says)


def test_where_no_model_has_controlnets_that_is_said() -> None:
    with pytest.raises(BadInput) as refusal:
        check_form(DrawForm("a cat --control canny"), (demo(),), 4, random.Random(0), source=SOURCE)
    assert (refusal.value.key, refusal.value.params) == ("refusal.control.model", {"model": demo().title})


def test_other_programs_names_lead_to_the_flags() -> None:
    for typed, flag in (("--controlnet canny", "--control"), ("--control-scale 1", "--control-weight")):
        with pytest.raises(BadInput) as refusal:
            parse(DrawForm(f"a cat {typed}"))
        assert refusal.value.params["nearest"] == flag


def test_the_prompt_line_holds_it() -> None:
    line = prompt_line(ask("a cat --control canny --control-weight 0.8"), SDXL, None, SDXL)
    assert "--control canny --control-weight 0.8" in line
    again = ask(line)
    assert (again.control, again.control_weight) == ("canny", 0.8)
    assert "--control-weight" not in prompt_line(ask("a cat --control canny"), SDXL, None, SDXL)


def test_recipes_keep_it_and_an_enlarged_picture_starts_from_its_own() -> None:
    asked = ask("a cat --control depth --control-weight 0.5")
    (recipe,) = requests.recipes_of(1, asked)
    assert (recipe.control, recipe.control_weight, recipe.strength) == ("depth", 0.5, 1.0)
    assert requests.steps_of(asked) == asked.steps
    for other in (requests.reroll(asked, random.Random(1)), requests.vary(asked, 0, random.Random(1))):
        assert (other.control, other.control_weight, other.image) == ("depth", 0.5, asked.image)
    large = requests.upscale(asked, 0, "pictures/1.png", (2304, 1792))
    assert (large.control, large.control_weight, large.image) == ("", 1.0, "pictures/1.png")


def test_cards_and_metadata_say_it() -> None:
    asked = ask("a cat --control canny --control-weight 0.8")
    facts = {
        fact.label: fact.value for fact in facts_of(replace(make_job(JobState.DELIVERED), request=asked), (), SDXL)
    }
    assert facts["Control"] == "canny 0.8"
    assert "Strength" not in facts
    said = parameters(requests.recipes_of(1, asked)[0], "m")
    settings = 'Weight: 0.8, Resize Mode: Crop and Resize, Control Mode: Balanced"'
    assert f'ControlNet 0: "Module: canny, Model: canny, {settings}' in said
    assert "Denoising strength" not in said
    assert "inputs" not in said
    ready = parameters(requests.recipes_of(1, replace(asked, control="depth"))[0], "m")
    assert f'ControlNet 0: "Module: none, Model: depth, {settings}' in ready
