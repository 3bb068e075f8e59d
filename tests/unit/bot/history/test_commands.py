"""Searching, keeping and drawing again as people type them: pages, buttons, rights and both languages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest

from bot.commands.model import Invocation
from bot.core.cards import ButtonPress, Card
from bot.core.errors import BadInput, NotFound, OverQuota
from bot.core.messages import Address, EventRef
from bot.core.people import Actor, Place
from bot.core.requests import DrawForm
from bot.drawing import job_actions
from bot.features import COMMANDS
from bot.history import listing
from tests.unit.bot.conftest import ADA, ALONE, BOB, HERE, PAGE, THERE, World, ref

NOTHING: Mapping[str, str] = MappingProxyType({})


async def typed(
    world: World, name: str, args: Mapping[str, str] = NOTHING, *, actor: Actor = ADA, place: Place = HERE
) -> Card:
    command = COMMANDS.by_name[name]
    return await world.studio.command(Invocation(actor, place, command, ref(f"{actor.user_id} {name} {args}"), args))


async def drawn(world: World, prompt: str, *, actor: Actor = ADA, place: Place = HERE) -> int:
    event = f"draw {await world.count('jobs')}"
    job = await world.studio.draw(actor, place, DrawForm(prompt), ref(event))
    await world.paint(job.job_id)
    return job.job_id


async def many(world: World, prompt: str, count: int) -> list[int]:
    ids = []
    for n in range(count):
        # Quotas are another test's business.
        world.clock.advance(2 * 86400)
        ids.append(await drawn(world, f"{prompt} {n}"))
    return ids[::-1]


def numbers(card: Card) -> list[int]:
    """The jobs that a page lists, by the numbers that ``again`` takes."""
    return [int(fact.label.removeprefix("#")) for fact in card.facts]


async def test_a_search_lists_what_fits_with_a_contact_sheet(world: World) -> None:
    cat = await drawn(world, "a red cat --seed 7")
    await drawn(world, "a dog")
    await drawn(world, "a cat", actor=BOB)
    card = await typed(world, "search", {"words": "CATS seed:7"})
    assert (numbers(card), card.private, card.final, len(card.pictures)) == ([cat], True, True, 1)
    assert (card.facts[0].label, card.facts[0].value) == (f"#{cat}", "a red cat (seed 7)")


async def test_pages_of_a_search_turn_on_after_a_restart(world: World) -> None:
    cats = await many(world, "cat", listing.JOBS + 2)
    await drawn(world, "a dog")
    first = await typed(world, "search", {"words": "cat"})
    await typed(world, "search", {"words": "dog"})
    older = first.buttons[-1][0].press
    assert older == ButtonPress("page", cats[listing.JOBS - 1], 1)
    packed = ButtonPress.unpack(older.pack())
    assert packed == older
    page = (await world.studio.press(ADA, HERE, older, ref("t"))).card
    assert page is not None
    assert numbers(first) + numbers(page) == cats
    newest = (await world.studio.press(ADA, HERE, page.buttons[-1][0].press, ref("n"))).card
    assert newest == first
    with pytest.raises(NotFound, match=r"refusal\.search\.over"):
        await world.studio.press(BOB, HERE, older, ref("b"))


async def test_each_job_of_a_page_can_be_opened(world: World) -> None:
    one, two = await drawn(world, "a cat"), await drawn(world, "a dog --count 2")
    page = await typed(world, "search", {"words": "cat"})
    assert page.buttons[0][0].press == ButtonPress("show", one)
    opened = (await world.studio.press(ADA, HERE, page.buttons[0][0].press, ref("o"))).card
    assert opened is not None
    assert (opened.job_id, opened.prompt, len(opened.pictures)) == (one, "a cat", 1)
    # Where delivery answers, several pictures come before their card; elsewhere the card has them.
    near = EventRef("press:1", Address("chat", "77", user="501"))
    for where, pictures, albums in ((EventRef("page:1"), 2, 0), (near, 0, 1), (near, 0, 1)):
        card = (await world.studio.press(ADA, HERE, ButtonPress("show", two), where)).card
        assert card is not None
        assert (card.job_id, len(card.pictures), await world.count("messages WHERE kind = 'album'")) == (
            two,
            pictures,
            albums,
        )
    with pytest.raises(NotFound):
        await world.studio.press(BOB, HERE, ButtonPress("show", one), ref("b"))


@pytest.mark.parametrize("locale", ["en", "zh_CN"])
async def test_nothing_found_says_what_else_can_be_written(world: World, locale: str) -> None:
    await drawn(world, "a cat")
    card = await typed(world, "search", {"words": "zeppelin"}, actor=replace(ADA, locale=locale))
    assert not card.facts
    key = "card.found.filters"
    assert card.notes == (world.studio.text(key, locale),)
    assert "seed:7" in card.notes[0] or "种子:7" in card.notes[0]


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ("  ", "refusal.search.empty"),
        ("!!!", "refusal.search.empty"),
        ("x" * 201, "refusal.search.long"),
        ("seed:seven", "refusal.search.seed"),
        ("种子：-1", "refusal.search.seed"),
        ("size:big", "refusal.search.size"),
        ("before:yesterday", "refusal.search.date"),
        ("after:2026-02-30", "refusal.search.date"),
    ],
)
async def test_what_can_not_be_read_is_said(world: World, words: str, key: str) -> None:
    with pytest.raises(BadInput) as error:
        await typed(world, "search", {"words": words})
    assert error.value.key == key
    assert await world.count("searches") == 0


async def test_favourites_are_listed_with_a_star_and_let_go_again(world: World) -> None:
    await drawn(world, "a dog")
    cat = await drawn(world, "a cat --count 2")
    keep = ButtonPress("favourite", cat)
    pressed = await world.studio.press(ADA, HERE, keep, ref("1"))
    assert (pressed.notice, pressed.card) == ("Kept in your favourites; /favourites shows them.", None)
    card = await typed(world, "favourites")
    assert numbers(card) == [cat]
    assert card.facts[0].value.startswith("★ ")
    assert numbers(await typed(world, "search", {"words": "cat is:favourite"})) == [cat]
    history = await world.studio.history(ADA, HERE)
    assert [fact.value[0] for fact in history.facts] == ["★", "a"]
    await world.studio.press(ADA, HERE, keep, ref("2"))
    assert not (await typed(world, "favourites")).facts
    assert not (await typed(world, "search", {"words": "cat is:favourite"})).facts


async def test_one_picture_of_several_may_be_kept(world: World) -> None:
    cat = await drawn(world, "a cat --count 2")
    await world.studio.press(ADA, HERE, ButtonPress("favourite", cat, 1), ref("1"))
    assert [p.favourite for p in (await world.studio.card(ADA, cat)).pictures] == [False, True]
    # The whole job's button keeps the rest as well, and only then lets go.
    await world.studio.press(ADA, HERE, ButtonPress("favourite", cat), ref("2"))
    assert [p.favourite for p in (await world.studio.card(ADA, cat)).pictures] == [True, True]
    with pytest.raises(NotFound):
        await world.studio.press(ADA, HERE, ButtonPress("favourite", cat, 2), ref("3"))


async def test_others_pictures_are_kept_where_they_were_shown_and_for_oneself_alone(world: World) -> None:
    cat = await drawn(world, "a cat")
    with pytest.raises(NotFound):
        await world.studio.press(BOB, THERE, ButtonPress("favourite", cat), ref("1"))
    await world.studio.press(BOB, HERE, ButtonPress("favourite", cat), ref("2"))
    assert numbers(await typed(world, "favourites", actor=BOB)) == [cat]
    assert not (await typed(world, "favourites")).facts
    assert not (await typed(world, "search", {"words": "cat"}, actor=BOB)).facts
    assert await world.studio.items(BOB, query="is:favourite") == ()


async def test_what_is_not_drawn_yet_can_not_be_kept(world: World) -> None:
    shown = await world.studio.draw(ADA, HERE, DrawForm("a cat"), ref("1"))
    with pytest.raises(NotFound):
        await world.studio.press(ADA, HERE, ButtonPress("favourite", shown.job_id), ref("2"))


async def test_again_asks_for_all_that_decides_once_more(world: World) -> None:
    first = await world.job(await drawn(world, 'a cat --seed 41 --count 2 --steps 5 --no "dogs" --private'))
    card = await typed(world, "again", {"number": str(first.id)})
    assert card.job_id is not None
    second = await world.job(card.job_id)
    assert second.request == replace(first.request, notes=(*first.request.notes, job_actions.REPEATED))
    assert (second.parent_id, second.person_id, card.private) == (first.id, first.person_id, True)
    assert await world.counted() == 4
    # Quotas are another test's business.
    world.clock.advance(2 * 86400)
    # The same event twice is one job, and what is drawn again is no child of a child by its notes.
    assert (await typed(world, "again", {"number": str(first.id)})).job_id == second.id
    await world.paint(second.id)
    third = await world.studio.press(ADA, HERE, ButtonPress("reroll", second.id), ref("r"))
    assert third.new is not None
    assert job_actions.REPEATED not in (await world.job(third.new.job_id)).request.notes


async def test_again_is_for_what_one_may_see_and_counts(world: World) -> None:
    cat = await drawn(world, "a cat --count 3")
    for number, actor, place in ((cat, BOB, THERE), (10**30, ADA, HERE), (cat + 1, ADA, HERE)):
        with pytest.raises(NotFound):
            await typed(world, "again", {"number": str(number)}, actor=actor, place=place)
    with pytest.raises(OverQuota):
        await typed(world, "again", {"number": str(cat)})
    card = await typed(world, "again", {"number": str(cat)}, actor=BOB)
    assert card.job_id is not None


async def test_again_of_many_takes_as_many_as_a_chat_does(world: World) -> None:
    page = Actor("web", "local", is_owner=True)
    job_id = await drawn(world, "a cat --count 9", actor=page, place=PAGE)
    async with world.ctx.db.write() as tx:
        await tx.execute_fetchall("UPDATE jobs SET person_id = ?", (1,))
        await tx.execute_fetchall("UPDATE accounts SET platform = 'chat', user_id = '1'")
    card = await typed(world, "again", {"number": str(job_id)}, actor=replace(ADA, is_owner=True), place=ALONE)
    assert card.job_id is not None
    assert (await world.job(card.job_id)).request.count == 4


async def test_again_needs_the_picture_that_it_began_with(world: World) -> None:
    cat = await drawn(world, "a cat")
    async with world.ctx.db.write() as tx:
        await tx.execute_fetchall("UPDATE jobs SET image = 'inputs/gone.png' WHERE id = ?", (cat,))
    with pytest.raises(NotFound, match=r"refusal\.again\.start_gone"):
        await typed(world, "again", {"number": str(cat)})
