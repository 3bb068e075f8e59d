"""The form of a job's request: what it shows, and what is drawn when it comes back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.core.cards import ButtonPress
from bot.core.errors import BadInput, NotFound
from bot.core.forms import MAX_FIELDS, FieldKind, Form
from bot.core.preferences import RECIPE, RecipeRule
from bot.core.requests import DrawForm, DrawRequest
from bot.storage import inputs
from engine.contract import NegativePromptSupport, Range
from tests.unit.bot.conftest import ADA, BOB, HERE, THERE, World, ref

OTHER = {"name": "other", "title": "Other", "multiple": 32, "steps": Range(20, 10, 40)}


@pytest.fixture
def both(world: World) -> World:
    """Two models that read a negative prompt, on different grids."""
    first = replace(world.profiles[0], negative=NegativePromptSupport.ALWAYS, negative_default="text")
    world.engine._profiles = (first, replace(first, **OTHER))  # type: ignore[arg-type]
    return world


async def drawn(world: World, prompt: str) -> DrawRequest:
    """Draw job 1, and return its request."""
    shown = await world.studio.draw(ADA, HERE, DrawForm(prompt), ref("d"))
    await world.paint(shown.job_id)
    return (await world.job(shown.job_id)).request


async def opened(world: World) -> Form:
    form = (await world.studio.press(ADA, HERE, ButtonPress("edit", 1), ref("o"))).form
    assert form is not None
    return form


async def submitted(world: World, event: str = "s", **values: str) -> DrawRequest:
    """Open the form, change values, send it; return the new request."""
    form = await opened(world)
    sent = {field.name: field.value for field in form.fields}
    assert values.keys() <= sent.keys(), f"the form has {sorted(sent)}"
    result = await world.studio.submit(ADA, HERE, form.press, sent | values, ref(event))
    assert result.new is not None
    job = await world.job(result.new.job_id)
    assert job.parent_id == 1
    return job.request


async def test_it_has_the_values_as_they_were(world: World) -> None:
    request = await drawn(world, "a **red** apple --seed 7 --size 256x144 --steps 3")
    form = await opened(world)
    assert form.press == ButtonPress("edit", 1)
    assert {field.name: field.value for field in form.fields} == {
        "prompt": "a **red** apple",
        "size": "256x144",
        "seed": "7",
        "steps": "3",
    }
    assert form.line == f"/draw a **red** apple --size 256x144 --seed 7 --steps {request.steps}"
    assert await submitted(world) == request


@pytest.mark.parametrize("action", ["edit", "start"])
async def test_what_somebody_makes_of_it_tells_no_more_than_its_author_wants(world: World, action: str) -> None:
    world.studio._ctx.preferences.load({("chat", ADA.user_id): {RECIPE: "never"}}, {})
    request = await drawn(world, "a secret garden")
    assert request.recipe_rule is RecipeRule.NEVER
    form = (await world.studio.press(BOB, HERE, ButtonPress(action, 1, 0), ref("o"))).form
    assert form is not None
    sent = {field.name: field.value for field in form.fields} | {"prompt": "a secret garden, at night"}
    made = (await world.studio.submit(BOB, HERE, form.press, sent, ref("s"))).new
    assert made is not None
    assert (await world.job(made.job_id)).request.recipe_rule is RecipeRule.NEVER


async def test_what_has_no_room_is_a_field_of_flags(both: World) -> None:
    request = await drawn(both, "an apple --seed 7 --no frames --style anime")
    form = await opened(both)
    assert [field.name for field in form.fields] == ["prompt", "negative", "size", "model", "flags"]
    assert len(form.fields) == MAX_FIELDS
    model, more = form.fields[3:]
    assert (model.kind, model.value, [choice.value for choice in model.choices]) == (
        FieldKind.CHOICE,
        request.model,
        [request.model, "other"],
    )
    assert more.value == f"--seed 7 --steps {request.steps}"
    assert await submitted(both) == request
    assert await submitted(both, "more", flags="--seed 8") == replace(request, seed=8)


async def test_changes_are_drawn(both: World) -> None:
    request = await drawn(both, "an apple --seed 7 --no frames")
    changed = await submitted(both, prompt="a pear", negative="", size="3:4", flags="--seed 9 --steps 2")
    assert (changed.typed, changed.negative, changed.seed, changed.steps) == ("a pear", "", 9, 2)
    assert changed.width < changed.height
    assert changed.model == request.model


async def test_a_flag_in_the_prompt_counts_more_than_a_field(both: World) -> None:
    await drawn(both, "an apple --seed 7")
    changed = await submitted(both, prompt="a pear --ar 16:9 --seed 8 --n 3")
    assert (changed.typed, changed.seed, changed.count) == ("a pear", 8, 3)
    assert changed.width > changed.height


async def test_an_empty_seed_is_a_new_one(world: World) -> None:
    await drawn(world, "an apple --seed 7")
    assert (await submitted(world, seed="")).seed != 7


async def test_another_model_has_its_own_grid_and_usual_steps(both: World) -> None:
    await drawn(both, "an apple --seed 7 --size 240x144 --steps 3")
    changed = await submitted(both, model="other")
    assert (changed.model, changed.seed, changed.steps) == ("other", 7, 20)
    assert (changed.width % 32, changed.height % 32) == (0, 0)
    assert changed.width / changed.height == pytest.approx(240 / 144, rel=0.2)


async def test_a_model_that_is_gone_becomes_the_default(both: World) -> None:
    await drawn(both, "an apple --seed 7 --model other")
    both.engine._profiles = both.engine.profiles()[:1]
    changed = await submitted(both)
    assert (changed.model, changed.seed) == (both.engine.profiles()[0].name, 7)


async def test_pictures_and_a_variation_stay(world: World) -> None:
    request = await drawn(world, "an apple --seed 7")
    async with world.db.write() as tx:
        await tx.execute_fetchall("UPDATE jobs SET variation = 0.25, variation_seed = 5")
    varied = await submitted(world, prompt="a pear")
    assert (varied.variation, varied.variation_seed, varied.seed) == (0.25, 5, 7)
    assert (await submitted(world, "seed", seed="8")).variation == 0.0
    name = f"{inputs.FOLDER}/gone.png"
    async with world.db.write() as tx:
        await tx.execute_fetchall("UPDATE jobs SET image = ?, strength = 0.4 WHERE id = 1", (name,))
    form = await opened(world)
    assert next(field.value for field in form.fields if field.name == "strength") == "0.4"
    assert len(form.notes) == 1
    assert request.strength == 1.0
    with pytest.raises(NotFound) as refused:
        await submitted(world, "image")
    assert refused.value.key == "refusal.again.start_gone"


async def test_words_are_no_flags(both: World) -> None:
    await drawn(both, "an apple --seed 7")
    for value, key in (("seed 7", "refusal.form.flags"), ("--sed 7", "refusal.flag.unknown")):
        with pytest.raises(BadInput) as refused:
            await submitted(both, flags=value)
        assert refused.value.key == key
    assert await both.count("jobs") == 1


async def test_rights_are_those_of_a_press(world: World) -> None:
    await drawn(world, "an apple --seed 7")
    edit = ButtonPress("edit", 1)
    assert (await world.studio.submit(BOB, HERE, edit, {"prompt": "a pear"}, ref("b"))).new is not None
    for what in (edit, ButtonPress("edit", 99)):
        with pytest.raises(NotFound):
            await world.studio.submit(BOB, THERE, what, {"prompt": "a pear"}, ref("t"))
    for action in ("reroll", "nothing"):
        with pytest.raises(BadInput):
            await world.studio.submit(ADA, HERE, ButtonPress(action, 1), {}, ref("x"))


async def test_a_job_of_the_page_is_cut_to_what_a_chat_allows(world: World) -> None:
    await drawn(world, "an apple --seed 7")
    async with world.db.write() as tx:
        await tx.execute_fetchall("UPDATE jobs SET count = 9")
    assert (await submitted(world)).count == 4
