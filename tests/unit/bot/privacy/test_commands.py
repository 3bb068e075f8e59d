"""The commands about one's own data, as people type them; who may say how long pictures are kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.audit import changes
from bot.audit import store as audit_rows
from bot.commands.model import Invocation
from bot.core.cards import Card
from bot.core.errors import BadInput, NotAllowed
from bot.core.people import Actor, Place
from bot.core.requests import DrawForm
from bot.drawing.admission import draw
from bot.features import COMMANDS
from bot.places.options import OPTION
from bot.privacy.deletion import DAYS
from bot.storage import people
from tests.unit.bot.conftest import ADA, ALONE, HERE, OWNER, THERE, World, ref

ADMIN = Actor("chat", "3", "Cy", is_admin=True)
BOSS = replace(OWNER, platform="chat")


async def say(world: World, name: str, actor: Actor = ADA, place: Place = HERE, **args: str) -> Card:
    command = COMMANDS.by_name[name]
    return await world.studio.command(Invocation(actor, place, command, ref(f"{name}:{args}"), args))


async def drawn(world: World) -> int:
    job = await draw(world.ctx, ADA, HERE, DrawForm("an apple", count="2"), ref("draw"))
    await world.paint(job.id)
    return job.id


@pytest.mark.parametrize("word", ["", "no", "maybe", "yesterday"])
async def test_nothing_is_forgotten_without_a_clear_yes(world: World, word: str) -> None:
    await drawn(world)
    card = await say(world, "forget", confirm=word)
    assert [fact.value for fact in card.facts] == ["1", "0", "2", "0"]
    assert card.private
    assert "/forget yes" in card.status
    assert await world.count("pictures") == 2


@pytest.mark.parametrize(("word", "locale"), [("yes", "en"), ("YES.", "en"), ("是", "zh_CN"), ("“是”", "zh_CN")])
async def test_a_yes_is_a_yes(world: World, word: str, locale: str) -> None:
    job_id = await drawn(world)
    card = await say(world, "forget", replace(ADA, locale=locale), confirm=word)
    assert await world.count("pictures") == 0
    assert (await world.job(job_id)).forgotten
    assert "2" in card.status
    assert ("遗忘" in card.status) is (locale == "zh_CN")


async def test_an_export_is_announced_to_its_person_alone(world: World) -> None:
    await drawn(world)
    card = await say(world, "export")
    assert card.private
    assert not card.facts
    assert world.backlog.posts == 1


async def test_how_long_pictures_are_kept_is_said_and_set_and_undone(world: World) -> None:
    assert "until the disk gets full" in (await say(world, "easel keep", ADMIN)).status
    card = await say(world, "easel keep", ADMIN, span="30 days")
    assert "30 days" in card.status
    assert "7 天" in (await say(world, "easel keep", replace(ADMIN, locale="zh_CN"), span="1周")).status
    async with world.ctx.db.write() as tx:
        place_id = await people.find_place(tx, HERE)
        assert place_id is not None
        assert await people.get_option(tx, place_id, DAYS) == 7
        last = (await audit_rows.of_place(tx, "chat", "guild"))[0]
        assert (last.action, last.actor) == ("easel keep", "chat:3")
        await changes.undo_change(tx, last.id, {"option": OPTION}, HERE, by="chat:3", now=1.0)
        assert await people.get_option(tx, place_id, DAYS) == 30
    assert "disk" in (await say(world, "easel keep", ADMIN, span="forever")).status
    assert "until the disk gets full" in (await say(world, "easel keep", ADMIN, THERE)).status


async def test_an_owner_alone_says_it_for_everywhere_and_a_place_can_only_shorten_it(world: World) -> None:
    card = await say(world, "easel keep", BOSS, ALONE, span="10 days")
    assert "everywhere" in card.status
    here = await say(world, "easel keep", ADMIN, span="30 days")
    assert "10 days" in here.status
    assert any("owner" in note for note in here.notes)
    assert "3 days" in (await say(world, "easel keep", ADMIN, span="3 days")).status
    assert "10 days" in (await say(world, "easel keep", BOSS, ALONE)).status
    async with world.ctx.db.read() as tx:
        assert await people.get_option(tx, people.SERVICE, DAYS) == 10


@pytest.mark.parametrize("span", ["12 hours", "0 days", "soon", "-3 days", "99999 years"])
async def test_what_can_not_be_kept_so_long_is_refused(world: World, span: str) -> None:
    with pytest.raises(BadInput):
        await say(world, "easel keep", ADMIN, span=span)
    assert await world.count("options") == 0


@pytest.mark.parametrize(("actor", "place"), [(ADA, HERE), (ADA, ALONE), (ADMIN, ALONE)])
async def test_nobody_else_may(world: World, actor: Actor, place: Place) -> None:
    for span in ("", "3 days"):
        with pytest.raises(NotAllowed):
            await say(world, "easel keep", actor, place, span=span)
    assert await world.count("options") == 0
