"""What /queue and /info tell: one's own place, counts alone of others, and only what the person may use."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.cards import i18n
from bot.commands.model import Invocation
from bot.core.cards import Card
from bot.core.people import Actor
from bot.core.requests import DrawForm
from bot.drawing.admission import draw
from bot.features import COMMANDS
from engine.contract import LoraInfo
from engine.families.z_image.spec import demo
from tests.unit.bot.conftest import ADA, BOB, HERE, OWNER, World, ref, run


async def told(world: World, name: str, actor: Actor = ADA) -> Card:
    return await run(world.ctx, Invocation(actor, HERE, COMMANDS.by_name[name], ref()))


@pytest.mark.parametrize("locale", i18n.LOCALES)
async def test_the_queue_shows_ones_own_jobs_and_of_others_how_many(world: World, locale: str) -> None:
    empty = await told(world, "queue", replace(ADA, locale=locale))
    assert (empty.status, empty.notes) == (i18n.text(locale, "card.queue.empty"), ())
    for number, (actor, prompt) in enumerate([(BOB, "a secret --private"), (BOB, "a plan"), (ADA, "a cat")]):
        await draw(world.ctx, actor, HERE, DrawForm(prompt), ref(str(number)))
    card = await told(world, "queue", replace(ADA, locale=locale))
    assert "3" in card.status
    assert [fact.label for fact in card.facts] == ["#3"]
    assert "a cat" in card.facts[0].value
    assert "3" in card.facts[0].value
    assert "secret" not in str(card)
    assert "plan" not in str(card)
    assert "Bob" not in str(card)
    assert card.private
    assert (await told(world, "queue", OWNER)).notes


async def test_info_names_what_the_person_may_use_and_nothing_of_the_operators(world: World) -> None:
    world.profiles.append(replace(demo(), name="big", title="Big", who=("admins",)))
    world.ctx = replace(world.ctx, loras=lambda: (LoraInfo("ink", "Ink"), LoraInfo("kept", "Kept", who=("17",))))
    for locale in i18n.LOCALES:
        card = await told(world, "info", replace(ADA, locale=locale))
        facts = {fact.label: fact.value for fact in card.facts}
        assert "Easel demo" in facts
        assert "Big" not in facts
        assert "1" in facts["LoRA"]
        assert str(world.ctx.pictures) not in str(card)
    assert "Big" in {fact.label for fact in (await told(world, "info", replace(ADA, is_admin=True))).facts}
