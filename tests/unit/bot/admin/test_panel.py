"""The panel: admins get a button for each setting, its form sets what the typed command sets, and nobody else gets in."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from bot.admin.panel import NAMES, PANEL
from bot.cards import i18n
from bot.commands import parser
from bot.commands.model import CommandResult, Invocation, Permission
from bot.core.cards import ButtonPress
from bot.core.errors import BadInput, NotAllowed
from bot.core.people import Actor, Place
from bot.features import COMMANDS
from bot.runner import run
from tests.unit.bot.conftest import ADA, ALONE, HERE, World, ref

ADMIN = Actor("chat", "8", "Grace", is_admin=True)


async def pressed(
    world: World,
    name: str,
    index: int | None = None,
    *,
    values: Mapping[str, str] | None = None,
    actor: Actor = ADMIN,
    place: Place = HERE,
) -> CommandResult:
    press = ButtonPress(PANEL, NAMES.index(name), index)
    call = Invocation(actor, place, COMMANDS.by_action[PANEL], ref(), press=press, submitted=values)
    return await run(world.ctx, call)


async def test_admins_get_the_buttons_and_members_do_not(world: World) -> None:
    for name in ("easel limits", "easel panel"):
        opened = await run(world.ctx, Invocation(ADMIN, HERE, COMMANDS.by_name[name], ref()))
        assert opened.card is not None
        assert [button.press.job_id for row in opened.card.buttons for button in row] == list(range(len(NAMES)))
    for actor, place in ((ADA, HERE), (ADMIN, ALONE)):
        seen = await run(world.ctx, Invocation(actor, place, COMMANDS.by_name["easel limits"], ref()))
        assert seen.card is not None
        assert seen.card.buttons == ()


@pytest.mark.parametrize("locale", i18n.LOCALES)
@pytest.mark.parametrize("name", NAMES)
async def test_every_command_of_the_panel_is_an_admins_and_has_its_words(world: World, name: str, locale: str) -> None:
    assert COMMANDS.by_name[name].permission is Permission.ADMIN
    label = i18n.text(locale, f"panel.{name.partition(' ')[2]}")
    assert 0 < len(label) <= 20
    result = await pressed(world, name, actor=Actor("chat", "8", "Grace", is_admin=True, locale=locale))
    if result.form is None:
        assert result.card is not None
        return
    assert all(not field.label.startswith("form.") for field in result.form.fields)
    assert all(not c.label.startswith("choice.") for field in result.form.fields for c in field.choices)
    # What is to be typed where there are no forms can be typed.
    word, _, rest = result.form.line.removeprefix("/").partition(" ")
    command, left = parser.find(COMMANDS, word, rest)
    assert command.name == name
    parser.parse(command, left)


async def test_a_form_and_a_button_of_its_choices_do_what_the_typed_line_does(world: World) -> None:
    await pressed(world, "easel words", values={"level": "spoiler"})
    await pressed(world, "easel preset", 1)
    await pressed(world, "easel defaults", values={"style": "ink", "model": "", "negative": "", "where": ""})
    result = await pressed(world, "easel changes")
    assert result.card is not None
    labels = [fact.label.partition(" ")[2] for fact in result.card.facts]
    assert labels == ["easel defaults", "easel preset", "easel words"]
    form = (await pressed(world, "easel defaults")).form
    assert form is not None
    assert {field.name: field.value for field in form.fields}["style"] == "ink"
    assert "style ink" in form.line


async def test_nobody_else_presses_it(world: World) -> None:
    for actor, place in ((ADA, HERE), (ADMIN, ALONE)):
        with pytest.raises(NotAllowed):
            await pressed(world, "easel pause", actor=actor, place=place)
        with pytest.raises(NotAllowed):
            await pressed(world, "easel words", values={"level": "off"}, actor=actor, place=place)
    assert await world.count("audit") == 0


@pytest.mark.parametrize(
    ("name", "values", "key"),
    [
        ("easel preset", {}, "refusal.command.missing"),
        ("easel timezone", {"preset": "open"}, "refusal.command.missing"),
        ("easel preset", {"preset": "none"}, "refusal.command.no_choice"),
        ("easel rights", {"model": "demo", "who": "none"}, "refusal.command.no_choice"),
    ],
)
async def test_a_form_that_no_client_sends_is_refused(
    world: World, name: str, values: dict[str, str], key: str
) -> None:
    with pytest.raises(BadInput) as refused:
        await pressed(world, name, values=values)
    assert refused.value.key == key
    with pytest.raises(NotAllowed):
        await pressed(world, name, values=values, actor=ADA)


async def test_a_text_whose_field_is_emptied_is_removed(world: World) -> None:
    await pressed(world, "easel defaults", values={"negative": "blurry", "style": "ink"})
    form = (await pressed(world, "easel defaults")).form
    assert form is not None
    shown = {field.name: field.value for field in form.fields}
    assert shown["negative"] == "blurry"
    await pressed(world, "easel defaults", values=shown | {"negative": " "})
    form = (await pressed(world, "easel defaults")).form
    assert form is not None
    assert {field.name: field.value for field in form.fields} == shown | {"negative": ""}


@pytest.mark.parametrize(("name", "index"), [("easel preset", 99), ("easel defaults", 0)])
async def test_a_choice_that_is_not_there_is_refused(world: World, name: str, index: int) -> None:
    with pytest.raises(BadInput):
        await pressed(world, name, index)
    press = ButtonPress(PANEL, len(NAMES))
    with pytest.raises(BadInput):
        await run(world.ctx, Invocation(ADMIN, HERE, COMMANDS.by_action[PANEL], ref(), press=press))
