"""The list of LoRAs: those that fit the default model and that the person may use here. Examples of the greeting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from bot.cards.i18n import LOCALES
from bot.commands.model import Invocation
from bot.context import AppContext
from bot.core.cards import ButtonPress
from bot.core.errors import BadInput
from bot.core.people import Actor, Place
from bot.drawing.commands import EXAMPLE, SHOWN_LORAS, example_buttons
from bot.features import COMMANDS
from engine.contract import LoraInfo
from engine.families.z_image.spec import demo
from tests.unit.bot.conftest import ADA, ALONE, HERE, OWNER, World, ref, run

FAMILY = demo().family
LORAS = (
    LoraInfo("ink", "Ink Wash", ("ink wash", "brush"), FAMILY),
    LoraInfo("oil", "Oil"),
    LoraInfo("roles", "For Roles", (), FAMILY, ("17",)),
    LoraInfo("admins", "For Admins", (), FAMILY, ("admins",)),
    LoraInfo("theirs", "Theirs", (), "other"),
)


async def listed(
    ctx: AppContext, actor: Actor, place: Place = HERE, words: str = "", loras: Sequence[LoraInfo] = LORAS
) -> tuple[str, dict[str, str], tuple[str, ...]]:
    args = {"words": words} if words else {}
    call = Invocation(actor, place, COMMANDS.by_name["loras"], ref(), args)
    card = await run(replace(ctx, loras=lambda: tuple(loras)), call)
    return card.status, {fact.label: fact.value for fact in card.facts}, card.notes


async def test_what_fits_and_may_be_used_is_listed(ctx: AppContext) -> None:
    status, facts, notes = await listed(ctx, ADA)
    assert status == "2 LoRAs that fit Easel demo."
    assert facts == {"ink": "Ink Wash · trigger words: ink wash, brush", "oil": "Oil"}
    assert "--lora ink:0.8 or <lora:ink:0.8>" in notes[0]
    for actor, place, names in (
        (replace(ADA, roles=("17",)), HERE, {"ink", "oil", "roles"}),
        (replace(ADA, is_admin=True), HERE, {"ink", "oil", "admins"}),
        (replace(ADA, is_admin=True), ALONE, {"ink", "oil"}),
        (OWNER, ALONE, {"ink", "oil", "roles", "admins"}),
    ):
        assert (await listed(ctx, actor, place))[1].keys() == names


async def test_an_example_is_drawn_in_the_language_of_who_presses_it(world: World) -> None:
    for locale in LOCALES:
        actor = replace(ADA, locale=locale)
        for button in example_buttons(locale):
            pressed = await world.studio.press(actor, ALONE, button.press, ref(f"{locale} {button.label}"))
            assert pressed.new is not None
            assert pressed.new.card.prompt == button.label
    for number in (0, 3):
        with pytest.raises(BadInput):
            await world.studio.press(ADA, ALONE, ButtonPress(EXAMPLE, number), ref("x"))


async def test_words_find_names_titles_and_trigger_words(ctx: AppContext) -> None:
    assert (await listed(ctx, ADA, words="WASH brush"))[1].keys() == {"ink"}
    assert (await listed(ctx, ADA, words="oil"))[1].keys() == {"oil"}
    status, facts, _ = await listed(ctx, ADA, words="spaceship")
    assert not facts
    assert "“spaceship”" in status


async def test_none_and_many_are_said(ctx: AppContext) -> None:
    assert (await listed(ctx, ADA, loras=()))[0] == "No LoRA here fits Easel demo."
    _, facts, notes = await listed(ctx, ADA, loras=[LoraInfo(f"one{i}", "One") for i in range(SHOWN_LORAS + 3)])
    assert len(facts) == SHOWN_LORAS
    assert notes[-1].startswith("3 more are not shown")
