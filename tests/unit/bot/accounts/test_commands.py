"""Joining two accounts by a code, and parting them: what each sees and may do, and that codes can't be guessed."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from bot.commands.model import Invocation
from bot.core.cards import ButtonPress, Card
from bot.core.errors import BadInput, NotAllowed, NotFound, Refusal
from bot.core.people import Actor, Place
from bot.core.requests import DrawForm
from bot.features import COMMANDS
from bot.history import listing
from bot.storage import people
from tests.unit.bot.conftest import ADA, ALONE, BOB, HERE, PAGE, World, ref

WEB = Actor("web", "local", "Ada at home")
MAIL = Actor("mail", "7", "Ada by mail")


async def typed(world: World, actor: Actor, name: str, place: Place = ALONE, **args: str) -> Card:
    command = COMMANDS.by_name[name]
    return await world.studio.command(Invocation(actor, place, command, ref(f"{actor.user_id} {name}"), args))


async def code_of(world: World, actor: Actor) -> str:
    card = await typed(world, actor, "link")
    assert card.private
    return next(word for word in card.status.split() if "-" in word)


async def join(world: World, one: Actor, other: Actor) -> Card:
    return await typed(world, other, "link", code=await code_of(world, one))


async def drawn(world: World, actor: Actor, place: Place, event: str) -> int:
    job = await world.studio.draw(actor, place, DrawForm(f"a cat for {actor.name}"), ref(event))
    await world.paint(job.job_id)
    return job.job_id


async def test_joined_accounts_have_one_history_one_quota_and_one_set_of_favourites(world: World) -> None:
    chat, page = await drawn(world, ADA, HERE, "1"), await drawn(world, WEB, PAGE, "2")
    await world.studio.press(WEB, PAGE, ButtonPress("favourite", page), ref("3"))
    with pytest.raises(NotFound):
        await world.studio.card(ADA, page)
    card = await join(world, ADA, WEB)
    assert "Ada" in card.status
    assert card.private
    for actor in (ADA, WEB):
        assert [c.job_id for c in await world.studio.items(actor)] == [page, chat]
        assert [c.job_id for c in await world.studio.items(actor, query="cat is:favourite")] == [page]
    assert "2" in [fact.value for fact in (await world.studio.quota_show(ADA, HERE)).facts]
    assert "2" in [fact.value for fact in (await world.studio.quota_show(WEB, PAGE)).facts]


async def test_the_older_person_stays(world: World) -> None:
    await drawn(world, ADA, HERE, "1")
    await drawn(world, WEB, PAGE, "2")
    await join(world, WEB, ADA)
    async with world.ctx.db.read() as tx:
        both = [await people.find(tx, a.platform, a.user_id) for a in (ADA, WEB)]
    assert {person.id for person in both if person is not None} == {1}
    assert await world.count("people") == 1


async def test_parting_gives_each_its_own_back_and_no_fresh_quota(world: World) -> None:
    chat, page = await drawn(world, ADA, HERE, "1"), await drawn(world, WEB, PAGE, "2")
    await join(world, ADA, WEB)
    await world.studio.press(ADA, HERE, ButtonPress("favourite", page), ref("3"))
    await typed(world, WEB, "unlink")
    assert [c.job_id for c in await world.studio.items(ADA)] == [chat]
    assert [c.job_id for c in await world.studio.items(WEB, query="is:favourite")] == [page]
    for actor, place in ((ADA, HERE), (WEB, PAGE)):
        assert "2" in [fact.value for fact in (await world.studio.quota_show(actor, place)).facts]
    await join(world, WEB, ADA)
    assert "2" in [fact.value for fact in (await world.studio.quota_show(ADA, HERE)).facts]


async def test_favourites_of_each_other_become_ones_own(world: World) -> None:
    theirs = await drawn(world, ADA, HERE, "1")
    # Somebody on another platform can't see it; a person with two accounts can.
    await drawn(world, BOB, HERE, "2")
    await world.studio.press(BOB, HERE, ButtonPress("favourite", theirs), ref("3"))
    assert await world.studio.items(ADA, query="cat is:favourite") == ()
    async with world.ctx.db.write() as tx:
        await tx.execute_fetchall("UPDATE accounts SET platform = 'mail' WHERE user_id = '2'")
    await join(world, ADA, replace(BOB, platform="mail"))
    assert [c.job_id for c in await world.studio.items(ADA, query="cat is:favourite")] == [theirs]


async def test_a_code_is_used_once_and_for_ten_minutes(world: World) -> None:
    code = await code_of(world, ADA)
    world.clock.advance(601)
    assert await refused(world, WEB, code) == "refusal.link.wrong"
    code = await code_of(world, ADA)
    await typed(world, WEB, "link", code=code.replace("-", " ").lower())
    assert await refused(world, MAIL, code) == "refusal.link.wrong"


async def refused(world: World, actor: Actor, code: str) -> str:
    with pytest.raises((BadInput, NotAllowed)) as error:
        await typed(world, actor, "link", code=code)
    for locale in ("en", "zh_CN"):
        card = world.studio.refused(error.value, locale)
        assert "{" not in card.status
    return error.value.key


async def test_who_guesses_has_to_wait_whatever_code_it_is(world: World) -> None:
    left = []
    for guess in ("AAAA-AAAA", "BBBB-BBBB", "CCCC-CCCC", "DDDD-DDDD"):
        with pytest.raises(Refusal) as error:
            await typed(world, BOB, "link", code=guess)
        left.append(error.value.params["n"])
    assert left == [4, 3, 2, 1]
    assert await refused(world, BOB, "EEEE-EEEE") == "refusal.link.wait"
    code = await code_of(world, WEB)
    # Also with the right one, and for no longer than it says.
    assert await refused(world, BOB, code) == "refusal.link.wait"
    world.clock.advance(601)
    await typed(world, BOB, "link", code=await code_of(world, WEB))


async def test_what_can_not_be_joined_leaves_the_code_as_it_was(world: World) -> None:
    code = await code_of(world, ADA)
    assert await refused(world, ADA, code) == "refusal.link.same"
    assert await refused(world, BOB, code) == "refusal.link.platform"
    await typed(world, WEB, "link", code=code)
    await join(world, ADA, MAIL)
    # Joined accounts count as well: Bob has a chat account, and so has the person that WEB belongs to.
    assert await refused(world, BOB, await code_of(world, WEB)) == "refusal.link.platform"


async def test_who_stands_alone_can_not_part(world: World) -> None:
    with pytest.raises(NotAllowed, match=r"refusal\.unlink\.single"):
        await typed(world, ADA, "unlink")


async def test_a_search_of_before_still_turns_its_pages(world: World) -> None:
    for n in range(listing.JOBS + 1):
        # Quotas are another test's business.
        world.clock.advance(2 * 86400)
        await drawn(world, WEB, PAGE, f"w{n}")
    card = await typed(world, WEB, "search", words="cat")
    await join(world, ADA, WEB)
    turned = await world.studio.press(WEB, PAGE, card.buttons[-1][0].press, ref("turn"))
    assert turned.card is not None
    assert len(turned.card.facts) == 1


async def test_codes_are_in_no_log_and_not_in_the_database(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    code = await code_of(world, ADA)
    assert await refused(world, WEB, "2222-2222") == "refusal.link.wrong"
    plain = code.replace("-", "")
    assert plain not in caplog.text.replace("-", "")
    for path in world.db.path.parent.glob("easel.db*"):
        assert plain.encode() not in path.read_bytes().replace(b"-", b"")


async def test_what_was_borrowed_together_counts_for_both_afterwards(world: World) -> None:
    await join(world, ADA, MAIL)
    owner = replace(ADA, platform="chat", user_id="9", is_owner=True)
    await typed(world, owner, "quota lend", person="1", number="3")
    for event in ("1", "2"):
        # Five of the eight are the quota's, three are borrowed.
        job = await world.studio.draw(ADA, HERE, DrawForm("a cat", count="4"), ref(event))
        await world.paint(job.job_id)
    await typed(world, MAIL, "unlink")
    world.clock.advance(86400 + 60)
    for actor in (ADA, MAIL):
        facts = {fact.label: fact.value for fact in (await world.studio.quota_show(actor, HERE)).facts}
        assert facts["Used"] == "3", facts
