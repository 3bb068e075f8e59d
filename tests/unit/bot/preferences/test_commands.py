"""Settings of one's own, defaults of places and channels, and who may use what: set, shown, refused and undone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from bot.accounts.commands import create_code, link, unlink
from bot.cards import i18n
from bot.cards.i18n import text
from bot.commands import parser
from bot.commands.model import Invocation
from bot.core.cards import ButtonPress, Card
from bot.core.errors import BadInput, NotAllowed
from bot.core.forms import Form
from bot.core.people import Actor, Place
from bot.core.preferences import Preferences, RecipeRule
from bot.core.requests import DrawForm, DrawRequest
from bot.drawing.admission import draw
from bot.drawing.job_actions import reroll
from bot.features import COMMANDS
from bot.preferences.commands import OWN
from bot.privacy.deletion import forget
from bot.privacy.store import exports
from bot.runner import run
from bot.storage import jobs, people, preferences
from engine.contract import LoraInfo
from engine.families.z_image.spec import demo
from tests.unit.bot.conftest import ADA, ALONE, BOB, HERE, THERE, World, ref

ADMIN = Actor("chat", "8", "Grace", is_admin=True)
INK = LoraInfo("ink", "Ink Wash")


@pytest.fixture(autouse=True)
def _models(world: World) -> None:
    world.profiles.append(replace(demo(), name="big", title="Big"))
    world.ctx = replace(world.ctx, loras=lambda: (INK,))


async def typed(world: World, line: str, actor: Actor = ADA, place: Place = HERE) -> Card:
    command, rest = parser.find(COMMANDS, *_split(line))
    call = Invocation(actor, place, command, ref(line), parser.parse(command, rest))
    result = await run(world.ctx, call)
    assert result.card is not None
    return result.card


def _split(line: str) -> tuple[str, str]:
    word, _, rest = line.partition(" ")
    return word, rest


async def pressed(
    world: World, number: int, index: int | None = None, *, values: Mapping[str, str] | None = None, actor: Actor = ADA
) -> Card | Form:
    press = ButtonPress("settings", number, index)
    call = Invocation(actor, HERE, COMMANDS.by_action["settings"], ref(), press=press, submitted=values)
    result = await run(world.ctx, call)
    found = result.form or result.card
    assert found is not None
    return found


def facts(card: Card | Form) -> dict[str, str]:
    assert isinstance(card, Card)
    return {fact.label: fact.value for fact in card.facts}


async def drawn(world: World, prompt: str, actor: Actor = ADA, place: Place = HERE) -> DrawRequest:
    return (await draw(world.ctx, actor, place, DrawForm(f"a cat {prompt}"), ref(f"{prompt}{actor.name}"))).request


async def test_settings_are_stored_shown_used_and_reset(world: World) -> None:
    card = await typed(world, "settings model big size 2:1 count 2 style=ink private yes")
    assert facts(card) == {
        "Model": "big",
        "Size": "2:1",
        "Pictures": "2",
        "Style": "ink",
        "Privacy": "Only I see my pictures",
    }
    request = await drawn(world, "")
    assert (request.model, request.count, request.style, request.private) == ("big", 2, "ink", True)
    assert "Style" not in facts(await typed(world, "settings style none"))
    assert (await drawn(world, "2")).style == ""
    assert facts(await typed(world, "settings"))["Model"] == "big"
    reset = await pressed(world, len(OWN))
    assert isinstance(reset, Card)
    assert (facts(reset), reset.status) == ({}, text("en", "card.settings.none"))
    assert (await drawn(world, "1", BOB)).model == "demo"


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("settings model nothing", "refusal.model.unknown"),
        ("settings size 9999x9999", "refusal.size.too_large"),
        ("settings count 99", "refusal.count.range"),
        ("settings style watercolourr", "refusal.style.unknown"),
        ("settings language klingon", "refusal.command.no_choice"),
        ("settings nonsense", "refusal.command.more"),
    ],
)
async def test_what_could_not_be_drawn_is_not_stored(world: World, line: str, key: str) -> None:
    with pytest.raises(BadInput) as refused:
        await typed(world, line)
    assert refused.value.key == key
    assert await world.count("person_options") == 0


async def test_the_choice_of_what_files_tell_holds_for_later_requests_and_what_others_make_of_them(
    world: World,
) -> None:
    card = await typed(world, "settings recipe 从不")
    assert facts(card) == {"Prompt in files": "In no file"}
    job = await draw(world.ctx, ADA, HERE, DrawForm("a cat"), ref("asked"))
    assert job.request.recipe_rule is RecipeRule.NEVER
    await world.paint(job.id)
    # Bob's variation has Ada's prompt; what Bob asks himself does not.
    again = await reroll(world.ctx, BOB, HERE, ButtonPress("reroll", job.id), ref("pressed"))
    assert again.request.recipe_rule is RecipeRule.NEVER
    assert (await drawn(world, "of his own", BOB)).recipe_rule is RecipeRule.ALWAYS
    # Bob may tell less than Ada, never more.
    await typed(world, "settings recipe always")
    await typed(world, "settings recipe public", BOB)
    later = await draw(world.ctx, ADA, HERE, DrawForm("a dog"), ref("later"))
    assert later.request.recipe_rule is RecipeRule.ALWAYS
    await world.paint(later.id)
    pressed = await reroll(world.ctx, BOB, HERE, ButtonPress("reroll", later.id), ref("pressed again"))
    assert pressed.request.recipe_rule is RecipeRule.PUBLIC
    async with world.ctx.db.read() as tx:
        stored = await jobs.get(tx, pressed.id)
    assert stored is not None
    assert stored.request == pressed.request


@pytest.mark.parametrize(
    ("older", "newer"), [("public", "never"), ("never", "always"), ("always", None), (None, "never")]
)
async def test_of_two_linked_accounts_the_choice_counts_by_which_files_tell_less(
    world: World, older: str | None, newer: str | None
) -> None:
    other = Actor("page", "9", "Ada again")
    for actor, choice in ((ADA, older), (other, newer)):
        await typed(world, f"settings recipe {choice}" if choice else "settings count 2", actor)
    await link(world.ctx, other, await create_code(world.ctx, ADA))
    await preferences.refresh(world.ctx.db, world.ctx.preferences)
    wanted = "never" if "never" in (older, newer) else "always"
    assert world.ctx.preferences.recipe_rule(ADA) == world.ctx.preferences.recipe_rule(other) == wanted


async def test_a_model_for_others_is_nobody_elses_setting(world: World) -> None:
    await typed(world, "easel rights model big admins", ADMIN)
    with pytest.raises(NotAllowed):
        await typed(world, "settings model big")
    assert facts(await typed(world, "settings model big", ADMIN))["Model"] == "big"


async def test_a_button_opens_the_form_of_one_setting_and_its_choices_are_buttons_too(world: World) -> None:
    for number, arg in enumerate(OWN):
        form = await pressed(world, number)
        assert isinstance(form, Form)
        assert [field.name for field in form.fields] == [arg.name]
        assert form.line.startswith(f"/settings {arg.name} ")
        first = form.fields[0].choices[-1]
        await pressed(world, number, values={arg.name: first.value})
        by_button = await pressed(world, number, len(form.fields[0].choices) - 1)
        assert isinstance(by_button, Card)
        async with world.ctx.db.read() as tx:
            person = await people.find(tx, ADA.platform, ADA.user_id)
            assert person is not None
            assert str((await preferences.of_person(tx, person.id))[arg.name]).lower() == first.value
    for number, index in ((len(OWN) + 1, None), (0, 99)):
        with pytest.raises(BadInput):
            await pressed(world, number, index)
    for name in ("language", "private"):
        with pytest.raises(BadInput):
            await pressed(world, [arg.name for arg in OWN].index(name), values={name: "xx"})


async def test_the_chosen_language_is_that_of_the_card_and_of_later_ones(world: World) -> None:
    card = await typed(world, "settings language 中文")
    assert card.status == i18n.text("zh_CN", "card.settings.changed")
    assert world.ctx.preferences.locale(ADA.platform, ADA.user_id, "en") == "zh_CN"
    assert world.ctx.preferences.locale(BOB.platform, BOB.user_id, "en") == "en"


async def test_everything_that_studio_says_is_in_the_chosen_language(world: World) -> None:
    async def said(line: str) -> str:
        command, rest = parser.find(COMMANDS, *_split(line))
        call = Invocation(ADA, HERE, command, ref(line), parser.parse(command, rest))
        return (await world.studio.command(call)).status

    assert (await said("settings language 中文")).startswith("你的设置")
    assert (await said("quota")).isascii() is False
    assert (await world.studio.history(ADA, HERE)).status.isascii() is False
    shown = await world.studio.draw(ADA, HERE, DrawForm("a cat"), ref("draw"))
    assert (await world.job(shown.job_id)).locale == "zh_CN"
    pressed_card = await world.studio.press(ADA, HERE, ButtonPress("prompt", shown.job_id), ref("press"))
    assert pressed_card.card is not None
    assert pressed_card.card.locale == "zh_CN"


async def test_defaults_of_a_channel_come_before_those_of_its_place_and_are_undone(world: World) -> None:
    await typed(world, 'easel defaults model big style ink negative "fog, rain"', ADMIN)
    card = await typed(world, "easel defaults channel style pixel", ADMIN)
    assert facts(card) == {
        "The whole place": "model big · style ink · negative fog, rain",
        "This channel or topic": "style pixel",
    }
    request = await drawn(world, "--guidance 3")
    assert (request.model, request.style) == ("big", "pixel")
    assert request.negative.startswith("fog, rain")
    other = replace(HERE, channel="other")
    assert (await drawn(world, "other", place=other)).style == "ink"
    assert (await drawn(world, "there", place=THERE)).model == "demo"
    changes = (await typed(world, "easel changes", ADMIN)).facts
    assert "nothing set → style pixel" in changes[0].value
    await typed(world, "easel undo 2", ADMIN)
    assert (await drawn(world, "undone")).style == "ink"
    await typed(world, "easel defaults model none style none negative none", ADMIN)
    assert await world.count("options") == 0


async def test_rights_of_models_loras_and_roles(world: World) -> None:
    await typed(world, "easel rights lora ink admins", ADMIN)
    with pytest.raises(NotAllowed):
        await drawn(world, "--lora ink")
    assert (await drawn(world, "--lora ink", ADMIN)).loras
    command = COMMANDS.by_name["easel rights"]
    for _ in range(2):
        await run(world.ctx, Invocation(ADMIN, HERE, command, ref(), {"model": "big", "role": "17"}))
        listed = facts(await typed(world, "easel rights", ADMIN))
        if "model big" in listed:
            assert (await drawn(world, "--model big", replace(BOB, roles=("17",)))).model == "big"
    assert listed == {"lora ink": "Admins"}
    await typed(world, "easel rights lora ink everyone", ADMIN)
    assert (await drawn(world, "again --lora ink")).loras


@pytest.mark.parametrize(
    "line", ["easel rights admins", "easel rights model big", "easel rights model big lora ink admins"]
)
async def test_rights_say_what_is_missing(world: World, line: str) -> None:
    with pytest.raises(BadInput) as refused:
        await typed(world, line, ADMIN)
    assert refused.value.key.startswith("refusal.rights.")


@pytest.mark.parametrize("line", ["easel defaults model big", "easel rights model big admins"])
async def test_members_and_direct_messages_set_nothing(world: World, line: str) -> None:
    for actor, place in ((ADA, HERE), (ADMIN, ALONE)):
        with pytest.raises(NotAllowed):
            await typed(world, line, actor, place)


async def test_settings_go_with_the_person(world: World) -> None:
    ctx = world.ctx
    await typed(world, "settings model big")
    other = Actor("web", "5", "Ada")
    await link(ctx, other, await create_code(ctx, ADA))
    await preferences.refresh(ctx.db, ctx.preferences)
    assert ctx.preferences.of_person(other) == {"model": "big"}
    await unlink(ctx, other)
    await preferences.refresh(ctx.db, ctx.preferences)
    assert ctx.preferences.of_person(other) == ctx.preferences.of_person(ADA) == {"model": "big"}
    async with ctx.db.read() as tx:
        person = await people.find(tx, ADA.platform, ADA.user_id)
        assert person is not None
        assert (await exports.person(tx, person.id))["preferences"] == {"model": "big"}
    await forget(ctx, ADA)
    assert ctx.preferences.of_person(ADA) == {}
    assert ctx.preferences.of_person(other) == {"model": "big"}


async def test_a_group_that_moves_keeps_its_defaults(world: World) -> None:
    group, moved = Place("chat", "-1", "-1"), Place("chat", "-2", "-2")
    for line in ("easel defaults style ink", "easel defaults channel model big"):
        await typed(world, line, ADMIN, group)
    async with world.ctx.db.write() as tx:
        await people.move_place(tx, "chat", "-1", "-2")
    await preferences.refresh(world.ctx.db, world.ctx.preferences)
    request = await drawn(world, "", place=moved)
    assert (request.model, request.style) == ("big", "ink")


async def test_a_new_process_loads_what_was_set(world: World) -> None:
    await typed(world, "settings model big")
    await typed(world, "easel defaults style ink", ADMIN)
    loaded = Preferences()
    await preferences.refresh(world.ctx.db, loaded)
    assert (loaded.of_person(ADA), loaded.of_place(HERE)) == ({"model": "big"}, {"defaults": {"style": "ink"}})
    assert (loaded.of_person(BOB), loaded.of_place(ALONE)) == ({}, {})
