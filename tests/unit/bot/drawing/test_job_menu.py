"""What a press on ⋯ answers, and what is told of a picture."""

from __future__ import annotations

import pytest

from bot.cards.i18n import text
from bot.core.cards import ButtonPress, Card, Menu
from bot.core.errors import NotFound
from bot.core.requests import DrawForm
from bot.storage import pictures
from tests.unit.bot.conftest import ADA, BOB, HERE, THERE, World, ref
from tests.unit.bot.provenance.marked_files import facts as marks
from tests.unit.bot.provenance.marked_files import marked


async def drawn(world: World, prompt: str = "an apple --seed 7 --n 2") -> int:
    job = (await world.studio.draw(ADA, HERE, DrawForm(prompt), ref("d"))).job_id
    await world.paint(job)
    return job


async def menu(world: World, press: ButtonPress) -> Menu:
    found = (await world.studio.press(BOB, HERE, press, ref("m"))).menu
    assert found is not None
    return found


def presses(card: Card) -> list[str]:
    return [button.press.pack() for row in card.buttons for button in row]


async def test_a_menu_has_pages_and_a_way_back(world: World) -> None:
    job = await drawn(world)
    first = await menu(world, ButtonPress("more", job))
    assert (first.card.status, first.card.private, first.card.job_id, first.asks) == ("Drawing 1.", True, None, False)
    assert first.back is not None
    assert first.back.press == ButtonPress("less", job)
    assert "easel:choose:1:1" in presses(first.card)
    second = await menu(world, ButtonPress("choose", job, 1))
    assert second.card.status == "Picture 2 of drawing 1."
    assert "easel:seed:1:1" in presses(second.card)
    assert presses((await menu(world, ButtonPress("choose", job))).card) == presses(first.card)
    closed = await menu(world, ButtonPress("less", job))
    assert closed.back is None
    assert closed.card.buttons == (await world.studio.card(ADA, job)).buttons


async def test_every_button_of_a_menu_does_something(world: World) -> None:
    job = await drawn(world, "an apple --seed 7")
    for press in [ButtonPress.unpack(one) for one in presses((await menu(world, ButtonPress("more", job))).card)]:
        assert press is not None
        if press.action == "report":
            continue  # nobody is there who could be told
        result = await world.studio.press(ADA, HERE, press, ref(press.action))
        assert [result.new, result.card, result.notice, result.files, result.menu, result.form] != [
            None,
            None,
            "",
            (),
            None,
            None,
        ], press


async def test_rights_are_those_of_the_job(world: World) -> None:
    job = await drawn(world)
    for action in ("more", "choose", "less", "info"):
        with pytest.raises(NotFound):
            await world.studio.press(BOB, THERE, ButtonPress(action, job), ref("m"))
        with pytest.raises(NotFound):
            await world.studio.press(ADA, HERE, ButtonPress(action, 99), ref("m"))
    for action in ("choose", "info"):
        with pytest.raises(NotFound):
            await world.studio.press(ADA, HERE, ButtonPress(action, job, 2), ref("m"))


async def test_without_pictures_there_is_no_menu(world: World) -> None:
    job = await drawn(world)
    async with world.db.write() as tx:
        await tx.execute_fetchall("DELETE FROM pictures")
    for action in ("more", "info"):
        with pytest.raises(NotFound):
            await world.studio.press(ADA, HERE, ButtonPress(action, job), ref("m"))


async def test_the_info_of_a_picture_has_its_seed_and_its_line(world: World) -> None:
    job = await drawn(world)
    info = (await world.studio.press(BOB, HERE, ButtonPress("info", job, 1), ref("i"))).card
    assert info is not None
    assert info.private
    assert info.prompt == "an apple --size 192x192 --seed 7 --count 2"
    facts = {fact.label: fact.value for fact in info.facts}
    assert facts | {"Seed": "8", "Number": "1", "File size": "1 kB", "Model": "Easel demo"} == facts
    both = (await world.studio.press(BOB, HERE, ButtonPress("info", job), ref("b"))).card
    assert both is not None
    assert {fact.label: fact.value for fact in both.facts}["Seed"] == "7, 8"
    # The files of these pictures have no marks.
    assert (facts["Signature"], "Kind" in facts, info.notes) == (text("en", "inspect.seal.none"), False, ())


async def test_the_info_of_a_picture_says_what_its_file_says(world: World) -> None:
    job = await drawn(world)
    async with world.ctx.db.read() as tx:
        stored = (await pictures.of_job(tx, job))[1]
    path = world.ctx.pictures / stored.path
    path.write_bytes(marked(marks("a dog")))
    info = (await world.studio.press(BOB, HERE, ButtonPress("info", job, 1), ref("i"))).card
    assert info is not None
    facts = {fact.label: fact.value for fact in info.facts}
    assert (facts["Signature"], facts["Model (AI mark)"]) == (text("en", "inspect.seal.none"), "Z-Image-Turbo")
    assert facts["Kind"] == text("en", "inspect.source.trainedAlgorithmicMedia")
    # How it was drawn is known from the row, so the file's claims about it are left out.
    assert "Model (recipe)" not in facts
    assert info.notes == (text("en", "inspect.conflict.prompt"), text("en", "inspect.claims"))
    path.unlink()
    gone = (await world.studio.press(BOB, HERE, ButtonPress("info", job, 1), ref("g"))).card
    assert gone is not None
    assert "Signature" not in {fact.label for fact in gone.facts}
