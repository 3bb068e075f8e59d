"""Newcomers as an owner answers them, and bans of a place."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.core.access import AccessDecision, AccessMode, Owners
from bot.core.errors import BadInput, NotAllowed
from bot.core.jobs import JobState
from bot.core.people import Account
from bot.core.requests import DrawForm
from bot.drawing.admission import draw
from bot.owner import people
from tests.unit.bot.conftest import ADA, ALONE, BOB, HERE, OWNER, World, ref


@pytest.fixture
def guarded(world: World) -> World:
    """Newcomers wait for an owner's answer."""
    world.ctx = replace(world.ctx, access_modes={"chat": AccessMode.APPROVE}, owners=Owners({"chat": ["8"]}))
    return world


async def test_newcomers_are_listed_with_their_request_and_answered(guarded: World) -> None:
    ctx = guarded.ctx
    first = await draw(ctx, ADA, ALONE, DrawForm("a duck"), ref("a"))
    second = await draw(ctx, BOB, ALONE, DrawForm("a secret", private=True), ref("b"))
    found = await people.waiting_newcomers(ctx)
    assert [(one.asker, one.prompt, one.waiting) for one in found.requests] == [("Ada", "a duck", 1), ("Bob", "", 1)]
    assert found.total == 2
    ada, bob = (one.newcomer.id for one in found.requests)

    answer = await people.answer(ctx, OWNER, ada, AccessDecision.ALLOWED, "5/day")
    assert ([job.id for job in answer.moved.queued], answer.rule) == ([first.id], "5/day")
    await people.answer(ctx, OWNER, bob, AccessDecision.REFUSED)
    assert (await guarded.job(second.id)).state is JobState.CANCELLED
    assert (await people.waiting_newcomers(ctx)).total == 0
    with pytest.raises(BadInput):
        await people.answer(ctx, OWNER, bob, AccessDecision.ALLOWED)


async def test_a_ban_of_one_place_cancels_what_waits_there(world: World) -> None:
    job = await draw(world.ctx, ADA, HERE, DrawForm("a duck"), ref("a"))
    account = Account("chat", "1", "")
    assert await people.ban(world.ctx, OWNER, account, guild="guild", span="", reason=" no ") == 1
    assert (await world.job(job.id)).state is JobState.CANCELLED
    view = await people.person(world.ctx, job.person_id)
    assert [(ban.guild, ban.until, ban.reason) for ban in view.bans] == [("guild", None, "no")]
    assert not view.accounts[0].banned, "not everywhere"
    assert await people.search(world.ctx, "ada", banned=True)
    await people.unban(world.ctx, OWNER, account, guild="guild")
    assert not await people.search(world.ctx, "ada", banned=True)


async def test_owners_are_not_banned(guarded: World) -> None:
    with pytest.raises(NotAllowed):
        await people.ban(guarded.ctx, OWNER, Account("chat", "8", ""), guild=None, span="", reason="")


async def test_a_search_is_bounded(world: World) -> None:
    with pytest.raises(BadInput):
        await people.search(world.ctx, "x" * (people.MAX_TEXT + 1), banned=False)
