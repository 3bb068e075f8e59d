"""What a file may say: privacy by rule, the kind of source, and no names of people, places or jobs."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from PIL import Image as Pillow

from bot.core.inspection import COMPOSITE, TRAINED
from bot.core.preferences import RecipeRule
from bot.core.requests import DrawRequest
from bot.provenance.facts import MarkingRules, facts_of
from bot.provenance.marks import Marker
from engine.contract import Image, Recipe

PROMPT = "a secret garden 秘密花园"
RECIPE = Recipe("77123:0", "demo", PROMPT, "no fences", 192, 192, 8, 2.0, 8_675_309)


def request_of(**changes: object) -> DrawRequest:
    request = DrawRequest(PROMPT, PROMPT, "no fences", 192, 192, 8, 2.0, 8_675_309, 1, "demo")
    return replace(request, **changes)  # type: ignore[arg-type]  # names and values come from the tests


def image() -> Image:
    out = io.BytesIO()
    Pillow.radial_gradient("L").resize((48, 32)).convert("RGB").save(out, "PNG")
    return Image(RECIPE.id, out.getvalue(), width=48, height=32, seconds=1.0)


@pytest.mark.parametrize(
    ("rule", "private", "told"),
    [
        (RecipeRule.PUBLIC, False, True),
        (RecipeRule.PUBLIC, True, False),
        (RecipeRule.ALWAYS, True, True),
        (RecipeRule.NEVER, False, False),
    ],
)
def test_the_recipe_is_told_by_rule(rule: RecipeRule, private: bool, told: bool) -> None:
    request = request_of(private=private)
    facts = facts_of(request, RECIPE, image(), None, MarkingRules(recipe=rule), drawn_at=0)
    assert (bool(facts.parameters), bool(facts.prompt)) == (told, told)


@pytest.mark.parametrize("operator", RecipeRule)
@pytest.mark.parametrize("own", RecipeRule)
@pytest.mark.parametrize("private", [False, True])
def test_people_may_tell_less_than_the_operator_and_never_more(
    operator: RecipeRule, own: RecipeRule, private: bool
) -> None:
    def told(rule: RecipeRule, recipe_rule: RecipeRule) -> bool:
        request = request_of(private=private, recipe_rule=recipe_rule)
        return bool(facts_of(request, RECIPE, image(), None, MarkingRules(recipe=rule), drawn_at=0).parameters)

    # Each rule alone must allow it.
    both = told(operator, RecipeRule.ALWAYS) and told(RecipeRule.ALWAYS, own)
    assert told(operator, own) is both


def test_the_file_of_a_private_job_has_no_word_of_the_request() -> None:
    data, document = Marker(lambda: (), MarkingRules()).mark(
        image(), request_of(private=True), RECIPE, drawn_at=1_790_000_000.5
    )
    words = ["secret", "garden", "秘密花园", "fences", "8675309", "77123", "Steps"]
    for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
        assert not [word for word in words if word.encode(encoding) in data]
    assert TRAINED.encode() in data
    assert document.encode() in data


@pytest.mark.parametrize(
    ("changes", "source"),
    [
        ({}, TRAINED),
        ({"image": "inputs/a.png"}, COMPOSITE),
        ({"image": "/tmp/x/image.png"}, COMPOSITE),
        ({"image": "pictures/2026/01/02/1-0.png"}, TRAINED),
        ({"image": "inputs/a.png", "control": "canny"}, TRAINED),
        ({"references": ("pictures/2026/01/02/1-0.png", "inputs/b.png")}, COMPOSITE),
        ({"references": ("pictures/2026/01/02/1-0.png",)}, TRAINED),
    ],
)
def test_the_kind_of_source(changes: dict[str, object], source: str) -> None:
    facts = facts_of(request_of(**changes), RECIPE, image(), None, MarkingRules(), drawn_at=0)
    assert facts.source_type == source


def test_each_file_has_an_id_of_its_own() -> None:
    marker = Marker(lambda: (), MarkingRules())
    assert len({marker.mark(image(), request_of(), RECIPE, drawn_at=0)[1] for _ in range(10)}) == 10
