"""What is suggested while somebody types: what they may use here, their own prompts, and nothing that fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from bot.commands.model import Arg, ArgType, Invocation
from bot.context import AppContext
from bot.core.people import Actor, Place
from bot.core.requests import DrawForm
from bot.drawing import suggestions
from bot.drawing.admission import draw
from bot.drawing.suggestions import LABEL_CHARS, MOST, VALUE_CHARS
from bot.features import COMMANDS
from bot.runner import run
from engine.contract import LoraInfo
from engine.families.z_image.spec import demo
from tests.unit.bot.conftest import ADA, ALONE, BOB, HERE, OWNER, World, ref

FAMILY = demo().family
LORAS = (
    LoraInfo("ink", "Ink Wash", ("ink wash", "brush"), FAMILY),
    LoraInfo("roles", "For Roles", (), FAMILY, ("17",)),
    LoraInfo("admins", "For Admins", (), FAMILY, ("admins",)),
    LoraInfo("theirs", "Theirs", (), "other"),
)
LONG = "a very long prompt about apples, " * 8


async def suggested(
    ctx: AppContext,
    type_: ArgType,
    typed: str = "",
    actor: Actor = ADA,
    *,
    place: Place = HERE,
    given: Mapping[str, str] | None = None,
) -> dict[str, str]:
    found = await suggestions.suggest(ctx, actor, place, Arg("any", type_), typed, given=given or {})
    return {one.value: one.label for one in found}


async def test_ones_own_last_prompts_come_newest_first_and_nobody_elses(ctx: AppContext) -> None:
    for number, (actor, prompt) in enumerate(
        [(ADA, "a red apple"), (ADA, "a blue house"), (BOB, "a secret apple"), (ADA, "a red apple --private")]
    ):
        await draw(ctx, actor, HERE, DrawForm(prompt), ref(str(number)))
    assert list(await suggested(ctx, ArgType.PROMPT)) == ["a red apple", "a blue house"]
    assert list(await suggested(ctx, ArgType.PROMPT, "APPLE red")) == ["a red apple"]
    assert await suggested(ctx, ArgType.PROMPT, "secret") == {}
    assert await suggested(ctx, ArgType.JOB, "house") == {"2": "#2 · a blue house"}
    assert await suggested(ctx, ArgType.PROMPT, actor=Actor("chat", "never seen")) == {}


async def test_a_prompt_that_is_too_long_to_be_suggested_is_drawn_whole(ctx: AppContext) -> None:
    await draw(ctx, ADA, HERE, DrawForm(LONG), ref("long"))
    ((value, label),) = (await suggested(ctx, ArgType.PROMPT, "apples")).items()
    assert len(value) <= VALUE_CHARS
    assert len(label) <= LABEL_CHARS
    drawn = {}
    for actor in (ADA, BOB):
        call = Invocation(actor, HERE, COMMANDS.by_name["draw"], ref(f"again {actor.name}"), {"prompt": value})
        new = (await run(ctx, call)).new
        assert new is not None
        drawn[actor.name] = new.request.typed
    # To anybody else it is just words: a number opens nobody's prompt.
    assert drawn == {"Ada": LONG.strip(), "Bob": value}


@pytest.mark.parametrize(
    ("actor", "place", "names"),
    [
        (ADA, HERE, {"ink"}),
        (replace(ADA, roles=("17",)), HERE, {"ink", "roles"}),
        (replace(ADA, is_admin=True), HERE, {"ink", "admins"}),
        (replace(ADA, is_admin=True), ALONE, {"ink"}),
        (OWNER, ALONE, {"ink", "roles", "admins"}),
    ],
)
async def test_loras_that_the_person_may_use_here(ctx: AppContext, actor: Actor, place: Place, names: set[str]) -> None:
    ctx = replace(ctx, loras=lambda: LORAS)
    assert (await suggested(ctx, ArgType.LORA, actor=actor, place=place)).keys() == names


async def test_the_last_lora_of_a_list_is_completed_and_shows_its_trigger_words(ctx: AppContext) -> None:
    ctx = replace(ctx, loras=lambda: LORAS)
    assert await suggested(ctx, ArgType.LORA, "brush") == {"ink": "Ink Wash · ink · ink wash, brush"}
    assert list(await suggested(ctx, ArgType.LORA, "other:0.5, in:0.8")) == ["other:0.5, ink:0.8"]


async def test_models_styles_and_sizes(world: World, ctx: AppContext) -> None:
    world.profiles.append(replace(demo(), name="big", title="Big One", presets={"wide": (512, 256)}))
    assert await suggested(ctx, ArgType.MODEL, "one") == {"big": "Big One · big"}
    assert list(await suggested(ctx, ArgType.STYLE, "watercolor")) == ["watercolour"]
    assert list(await suggested(ctx, ArgType.STYLE, "水墨")) == ["ink"]
    assert await suggested(ctx, ArgType.SIZE, "wi", given={"model": "big"}) == {"wide": "wide · 512×256"}
    wen = replace(ADA, locale="zh_CN")
    assert list(await suggested(ctx, ArgType.SIZE, "方", wen)) == ["square"]
    assert await suggested(ctx, ArgType.SIZE, "192x192") == {}


async def test_a_thousand_are_shortened_to_what_a_platform_shows(ctx: AppContext) -> None:
    loras = tuple(LoraInfo(f"lora-{i}", "x" * 300) for i in range(1000))
    found = await suggested(replace(ctx, loras=lambda: loras), ArgType.LORA, "lora")
    assert len(found) == MOST
    assert {len(label) <= LABEL_CHARS for label in found.values()} == {True}


async def test_a_failure_suggests_nothing_and_raises_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(suggestions, "suggest", lambda *_, **__: 1 / 0)
    assert await world.studio.suggest(ADA, HERE, Arg("any", ArgType.SIZE), "w", given={}) == ()
    assert "nothing was suggested" in caplog.text
