"""Admission: whole or not at all, once for each event, within the quota."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections import namedtuple
from dataclasses import replace

import pytest

from bot.context import AppContext
from bot.core.errors import BadInput, OverQuota, Refusal, Unavailable
from bot.core.jobs import JobState
from bot.core.messages import MessageState
from bot.core.people import Actor
from bot.core.requests import DrawForm
from bot.drawing.admission import draw
from bot.drawing.styles import Style
from bot.storage import messages
from tests.unit.bot.conftest import ADA, ALONE, BOB, HERE, OWNER, PAGE, THERE, World, ref

TABLES = ("people", "accounts", "places", "jobs", "ledger", "messages")


async def test_a_request_is_stored_reserved_and_queued(world: World, ctx: AppContext) -> None:
    job = await draw(ctx, ADA, HERE, DrawForm("a red apple --seed 7 --count 2 --no blur --guidance 2"), ref())
    assert job == await world.job(job.id)
    assert (job.state, job.asker, job.locale, job.created_at) == (JobState.QUEUED, "Ada", "en", world.clock.now())
    request = job.request
    assert (request.typed, request.seed, request.count, request.negative) == ("a red apple", 7, 2, "blur")
    assert [(t.job_id, t.person_id, t.count) for t in world.backlog.tickets] == [(job.id, job.person_id, 2)]
    assert await world.counted() == 2
    assert [await world.count(table) for table in TABLES] == [1] * 6


@pytest.mark.parametrize(
    ("answered", "channel", "state"),
    [(True, "channel", MessageState.OPENING), (False, "channel", MessageState.WANTED), (False, None, None)],
)
async def test_its_card_waits_for_the_adapter_or_for_delivery_or_is_none(
    ctx: AppContext, answered: bool, channel: str | None, state: MessageState | None
) -> None:
    job = await draw(ctx, ADA, HERE, DrawForm("an apple"), ref(answered=answered, channel=channel))
    async with ctx.db.read() as tx:
        rows = await messages.of_job(tx, job.id)
    assert [row.state for row in rows] == ([] if state is None else [state])


async def test_the_operators_styles_are_drawn_in(ctx: AppContext) -> None:
    ctx = replace(ctx, styles={"Oil": Style("Oil", "oil painting of {prompt}")})
    job = await draw(ctx, ADA, HERE, DrawForm("an apple --style oil"), ref())
    assert (job.request.typed, job.request.prompt, job.request.style) == ("an apple", "oil painting of an apple", "Oil")
    with pytest.raises(BadInput) as refused:
        await draw(ctx, ADA, HERE, DrawForm("an apple", style="ink"), ref("other"))
    assert refused.value.params["known"] == "Oil"


async def test_the_same_event_twice_is_one_job(world: World, ctx: AppContext) -> None:
    one = await draw(ctx, ADA, HERE, DrawForm("an apple"), ref("same"))
    two = await draw(ctx, ADA, HERE, DrawForm("an apple"), ref("same"))
    assert one == two
    assert await world.counted() == 1
    assert len(world.backlog.tickets) == 1
    assert await world.count("messages") == 1


async def test_the_same_event_is_found_before_the_quota_is_asked(ctx: AppContext) -> None:
    one = await draw(ctx, ADA, HERE, DrawForm("an apple", count="4"), ref("same"))
    await draw(ctx, ADA, HERE, DrawForm("an apple"), ref("last"))
    assert (await draw(ctx, ADA, HERE, DrawForm("an apple", count="4"), ref("same"))).id == one.id


async def test_the_same_event_at_the_same_time_is_one_job(world: World, ctx: AppContext) -> None:
    found = await asyncio.gather(*(draw(ctx, ADA, HERE, DrawForm("an apple"), ref("same")) for _ in range(8)))
    assert len({job.id for job in found}) == 1
    assert (await world.counted(), len(world.backlog.tickets)) == (1, 1)


@pytest.mark.parametrize(
    ("form", "key"),
    [
        (DrawForm("  "), "refusal.prompt.empty"),
        (DrawForm("x" * 5000), "refusal.prompt.too_long"),
        (DrawForm("an apple --sede 7"), "refusal.flag.unknown"),
        (DrawForm("an apple", size="100x100"), "refusal.size.off_grid"),
        (DrawForm("an apple", count="0"), "refusal.count.range"),
        (DrawForm("an apple", count="99"), "refusal.count.range"),
        (DrawForm("an apple", seed="-2"), "refusal.seed.range"),
        (DrawForm("an apple", seed=str(2**63)), "refusal.seed.range"),
        (DrawForm("an apple", steps="0"), "refusal.steps.range"),
        (DrawForm("an apple", model="nothing"), "refusal.model.unknown"),
    ],
)
async def test_bad_input_stores_and_costs_nothing(world: World, ctx: AppContext, form: DrawForm, key: str) -> None:
    with pytest.raises(BadInput) as refused:
        await draw(ctx, ADA, HERE, form, ref())
    assert refused.value.key == key
    assert world.studio.refused(refused.value, "zh_CN").status != world.studio.refused(refused.value, "en").status
    assert [await world.count(table) for table in TABLES] == [0] * 6
    assert world.backlog.tickets == []


async def test_over_quota_stores_nothing_and_says_what_is_left(world: World, ctx: AppContext) -> None:
    await draw(ctx, ADA, HERE, DrawForm("an apple", count="3"), ref("1"))
    world.clock.advance(3600)
    with pytest.raises(OverQuota) as refused:
        await draw(ctx, ADA, THERE, DrawForm("an apple", count="3"), ref("2"))
    assert refused.value.key == "refusal.quota.left"
    assert refused.value.params["n"] == 2
    assert refused.value.params["returns"] == 3
    assert refused.value.params["wait"] == 23 * 3600
    assert [await world.count(table) for table in TABLES] == [1] * 6
    await draw(ctx, BOB, HERE, DrawForm("an apple", count="4"), ref("3"))
    world.clock.advance(23 * 3600)
    await draw(ctx, ADA, THERE, DrawForm("an apple", count="4"), ref("4"))


async def test_many_at_once_never_get_more_than_the_quota(world: World, ctx: AppContext) -> None:
    async def one(i: int) -> bool:
        with contextlib.suppress(OverQuota):
            await draw(ctx, ADA, HERE, DrawForm("an apple", count="2"), ref(f"e{i}"))
            return True
        return False

    assert sum(await asyncio.gather(*(one(i) for i in range(10)))) == 2
    assert await world.counted() == 4


async def test_owners_are_exempt_and_counted(world: World, ctx: AppContext) -> None:
    for i in range(3):
        await draw(ctx, OWNER, PAGE, DrawForm("an apple", count="16"), ref(f"e{i}", channel=None))
    assert await world.counted() == 48


async def test_admins_are_not_exempt(ctx: AppContext) -> None:
    admin = replace(ADA, is_admin=True)
    await draw(ctx, admin, HERE, DrawForm("an apple", count="4"), ref("1"))
    with pytest.raises(OverQuota):
        await draw(ctx, admin, HERE, DrawForm("an apple", count="4"), ref("2"))


async def test_the_most_in_one_request_is_the_surface_s(ctx: AppContext) -> None:
    with pytest.raises(BadInput):
        await draw(ctx, ADA, HERE, DrawForm("an apple", count="5"), ref())


async def test_a_full_disk_refuses_and_stores_nothing(
    world: World, ctx: AppContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 1000))
    with pytest.raises(Unavailable) as refused:
        await draw(ctx, ADA, HERE, DrawForm("an apple"), ref())
    assert refused.value.key == "unavailable.disk_full"
    assert await world.count("jobs") == 0


async def test_seeds_that_are_drawn_stay_below_two_to_the_32(ctx: AppContext) -> None:
    jobs = [await draw(ctx, OWNER, PAGE, DrawForm("an apple"), ref(f"e{i}")) for i in range(20)]
    seeds = {job.request.seed for job in jobs}
    assert len(seeds) == 20
    assert all(0 <= seed < 2**32 for seed in seeds)


async def test_a_text_is_data(world: World, ctx: AppContext) -> None:
    evil = "'; DROP TABLE jobs; -- <b>@everyone</b> \U0001f600 \x00"
    job = await draw(ctx, Actor("chat", "1", evil), HERE, DrawForm(evil.replace("-- <b>", "<b>")), ref(evil))
    assert job.asker == evil
    assert await world.count("jobs") == 1


async def test_cancelled_at_any_moment_a_stored_job_is_in_the_queue_too(world: World) -> None:
    for turns in range(0, 200, 2):
        before = len(world.backlog.tickets)
        task = asyncio.create_task(world.studio.draw(OWNER, PAGE, DrawForm("an apple"), ref(f"e{turns}")))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert len(world.backlog.tickets) == await world.count("jobs")
        assert len(world.backlog.tickets) - before in {0, 1}
    assert world.backlog.tickets


async def test_a_direct_message_has_no_place(ctx: AppContext) -> None:
    job = await draw(ctx, ADA, ALONE, DrawForm("an apple"), ref())
    assert job.place_id is None


async def test_every_refusal_is_a_refusal(ctx: AppContext) -> None:
    with pytest.raises(Refusal):
        await draw(ctx, ADA, HERE, DrawForm("an apple", strength="0.5"), ref())
