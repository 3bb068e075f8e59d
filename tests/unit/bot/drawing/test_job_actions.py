"""Buttons: what they do, and who may press them; the rows decide, not the button's text."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from bot.context import DOWNLOAD_BURST, DOWNLOAD_REFILL_SECONDS, AppContext
from bot.core.cards import ButtonPress
from bot.core.errors import BadInput, NotAllowed, NotFound, OverQuota, Refusal
from bot.core.jobs import Job, JobState
from bot.core.messages import Address, EventRef, MessageKind, MessageState
from bot.core.people import Actor, Place
from bot.core.quotas import Limit
from bot.core.requests import DrawForm
from bot.drawing import job_actions
from bot.drawing.admission import DOUBLE_PRESS_SECONDS, draw
from bot.storage import jobs, messages, pictures
from bot.studio import ButtonResult, Studio
from engine.contract import Capability
from tests.fakes import source_images
from tests.unit.bot.conftest import ADA, ALONE, BOB, HERE, OWNER, PAGE, THERE, World, ref

ADMIN = replace(BOB, is_admin=True)


async def a_job(world: World, prompt: str = "an apple --seed 7", **form: str) -> Job:
    return await draw(world.ctx, ADA, HERE, DrawForm(prompt, **form), ref("first"))  # type: ignore[arg-type]


async def press(world: World, who: Actor, where: Place, what: ButtonPress, event: str = "press") -> int:
    pressed = await world.studio.press(who, where, what, ref(event, channel=where.channel))
    assert pressed.new is not None
    return pressed.new.job_id


async def test_reroll_is_the_same_request_with_a_new_seed(world: World) -> None:
    first = await a_job(world, count="2", negative="blur", guidance="2")
    again = await world.job(await press(world, ADA, HERE, ButtonPress("reroll", first.id)))
    assert again.request.seed != 7
    assert again.request.seed < 2**32
    assert replace(again.request, seed=7) == first.request
    assert (again.parent_id, again.state) == (first.id, JobState.QUEUED)
    assert await world.counted() == 4


@pytest.mark.parametrize(("count", "index", "seed", "drawn"), [("1", 0, 7, 2), ("2", 1, 8, 2), ("3", 2, 9, 3)])
async def test_seed_draws_from_that_picture_upward(world: World, count: str, index: int, seed: int, drawn: int) -> None:
    first = await draw(world.ctx, OWNER, PAGE, DrawForm("an apple --seed 7", count=count), ref("f", channel=None))
    pressed = await world.studio.press(OWNER, PAGE, ButtonPress("seed", first.id, index), ref("p", channel=None))
    assert pressed.new is not None
    again = (await world.job(pressed.new.job_id)).request
    assert (again.seed, again.count) == (seed, drawn)


async def test_a_press_that_comes_twice_is_one_job(world: World) -> None:
    first = await a_job(world)
    one = await press(world, ADA, HERE, ButtonPress("reroll", first.id))
    assert await press(world, ADA, HERE, ButtonPress("reroll", first.id)) == one


async def test_a_press_counts_against_the_presser(world: World) -> None:
    first = await a_job(world, count="4")
    with pytest.raises(OverQuota):
        await press(world, ADA, HERE, ButtonPress("reroll", first.id))
    again = await world.job(await press(world, BOB, HERE, ButtonPress("reroll", first.id)))
    assert again.person_id != first.person_id


@pytest.mark.parametrize("index", [2, 999])
async def test_there_is_no_such_picture(world: World, index: int) -> None:
    first = await a_job(world, count="2")
    with pytest.raises(NotFound):
        await press(world, ADA, HERE, ButtonPress("seed", first.id, index))


async def test_of_the_page_s_16_a_chat_rerolls_4(world: World) -> None:
    first = await draw(world.ctx, OWNER, PAGE, DrawForm("an apple", count="16"), ref("f", channel=None))
    me = replace(OWNER, platform="chat")
    async with world.ctx.db.write() as tx:
        await messages.add_card(tx, "shown", first.id, Address("chat", "channel"), MessageState.SHOWN)
    again = await world.job(await press(world, me, HERE, ButtonPress("reroll", first.id)))
    assert again.request.count == 4


async def test_a_model_that_is_gone_is_refused(world: World) -> None:
    first = await a_job(world)
    world.engine._profiles = (replace(world.profiles[0], name="other"),)
    with pytest.raises(BadInput) as refused:
        await press(world, ADA, HERE, ButtonPress("reroll", first.id))
    assert refused.value.key == "refusal.model.unknown"


async def refused(world: World, what: ButtonPress) -> str:
    with pytest.raises(Refusal) as raised:
        await press(world, ADA, HERE, what, f"refused {what}")
    for locale in ("en", "zh_CN"):
        assert world.studio.refused(raised.value, locale).status != raised.value.key
    return raised.value.key


async def test_vary_draws_small_changes_around_a_pictures_seed(world: World) -> None:
    first = await a_job(world, count="2", negative="blur", guidance="2")
    made = await world.job(await press(world, ADA, HERE, ButtonPress("vary", first.id, 1)))
    request = made.request
    assert (request.seed, request.count, request.variation, made.parent_id) == (8, 2, 0.25, first.id)
    assert request.variation_seed != 0
    assert replace(request, seed=7, variation=0.0, variation_seed=0) == first.request


async def test_vary_of_one_picture_draws_two(world: World) -> None:
    first = await a_job(world)
    assert (await world.job(await press(world, ADA, HERE, ButtonPress("vary", first.id, 0)))).request.count == 2


async def test_a_reroll_of_variations_is_other_variations(world: World) -> None:
    first = await a_job(world)
    made = await world.job(await press(world, ADA, HERE, ButtonPress("vary", first.id, 0), "1"))
    again = await world.job(await press(world, ADA, HERE, ButtonPress("reroll", made.id), "2"))
    assert (again.request.seed, again.request.variation) == (7, 0.25)
    assert again.request.variation_seed != made.request.variation_seed


async def test_upscale_begins_with_the_pictures_own_file(world: World) -> None:
    first = await a_job(world, count="2", negative="blur", guidance="2")
    assert await refused(world, ButtonPress("upscale", first.id, 1)) == "refusal.picture.not_found"
    await world.paint(first.id)
    made = await world.job(await press(world, ADA, HERE, ButtonPress("upscale", first.id, 1)))
    request = made.request
    assert (request.width, request.height, request.seed, request.count) == (384, 384, 8, 1)
    assert (request.strength, request.upscale, request.prompt) == (0.35, 2.0, first.request.prompt)
    assert (world.ctx.pictures.parent / request.image).is_file()
    assert await refused(world, ButtonPress("upscale", first.id, 2)) == "refusal.picture.not_found"


async def test_upscale_of_a_file_that_is_gone(world: World) -> None:
    first = await a_job(world)
    await world.paint(first.id)
    for path in world.ctx.pictures.rglob("*.png"):
        path.unlink()
    assert await refused(world, ButtonPress("upscale", first.id, 0)) == "refusal.picture.not_found"


async def test_the_largest_can_not_be_upscaled(world: World) -> None:
    first = await a_job(world)
    await world.paint(first.id)
    async with world.ctx.db.write() as tx:
        await tx.execute_fetchall("UPDATE pictures SET width = 512, height = 512")
    assert await refused(world, ButtonPress("upscale", first.id, 0)) == "refusal.upscale.largest"


async def test_a_model_that_can_neither_vary_nor_start_from_a_picture(world: World) -> None:
    first = await a_job(world)
    await world.paint(first.id)
    world.engine._profiles = (replace(world.profiles[0], can=frozenset()),)
    assert await refused(world, ButtonPress("vary", first.id, 0)) == "refusal.vary.model"
    assert await refused(world, ButtonPress("upscale", first.id, 0)) == "refusal.upscale.model"


STRANGERS_MAY = ("reroll", "seed", "vary")
# Of a job that is not painted yet; upscaling needs its file.


@pytest.mark.parametrize("action", STRANGERS_MAY)
async def test_a_stranger_presses_only_where_it_was_shown(world: World, action: str) -> None:
    first = await a_job(world)
    with pytest.raises(NotFound):
        await press(world, BOB, THERE, ButtonPress(action, first.id), "1")
    with pytest.raises(NotFound):  # another platform's chat of the same id
        await press(
            world, replace(BOB, platform="web"), replace(HERE, platform="web"), ButtonPress(action, first.id), "2"
        )
    await press(world, BOB, HERE, ButtonPress(action, first.id), "3")
    await press(world, ADA, ALONE, ButtonPress(action, first.id), "4")


async def test_a_place_that_removes_the_bot_gets_back_what_waits_in_all_of_its_channels(world: World) -> None:
    second = replace(HERE, channel="second")
    for n, place in enumerate((HERE, second, THERE)):
        address = Address("chat", place.channel, user=ADA.user_id)
        await draw(world.ctx, ADA, place, DrawForm("an apple"), EventRef(f"e{n}", address))
    await world.studio.place_closed(HERE)
    await world.studio.place_closed(HERE)
    await world.studio.place_closed(Place("chat", "never seen", ""))
    states = [(await world.job(n)).state for n in (1, 2, 3)]
    assert states == [JobState.CANCELLED, JobState.CANCELLED, JobState.QUEUED]
    assert await world.counted() == 1
    async with world.ctx.db.read() as tx:
        told = [m for m in await messages.wanted(tx) if m.kind is MessageKind.NOTICE]
    assert [(m.job_id, m.address.private, m.address.user) for m in told] == [(1, True, "1"), (2, True, "1")]


EVERY = ["reroll", "seed", "vary", "upscale", "original", "prompt", "cancel", "favourite"]


@pytest.mark.parametrize("action", EVERY)
async def test_a_private_job_is_its_owner_s_alone(world: World, action: str) -> None:
    first = await a_job(world, "an apple --private")
    for who in (BOB, ADMIN):
        with pytest.raises(NotFound):
            await world.studio.press(who, HERE, ButtonPress(action, first.id), ref("p"))


@pytest.mark.parametrize("action", EVERY)
async def test_a_job_that_never_was(studio: Studio, action: str) -> None:
    with pytest.raises(NotFound):
        await studio.press(ADA, HERE, ButtonPress(action, 10**18 - 1), ref())


@pytest.mark.parametrize(
    "action",
    ["use", "drop", "report"],
)
async def test_an_action_that_is_unknown_or_impossible_is_refused(world: World, action: str) -> None:
    first = await a_job(world)
    with pytest.raises(Refusal) as refused:
        await world.studio.press(ADA, HERE, ButtonPress(action, first.id, 0), ref("p"))
    for locale in ("en", "zh_CN"):
        assert world.studio.refused(refused.value, locale).status != refused.value.key


async def test_cancel_refunds_and_tells_the_queue(world: World) -> None:
    first = await a_job(world, count="2")
    pressed = await world.studio.press(ADA, HERE, ButtonPress("cancel", first.id), ref("c"))
    assert (await world.job(first.id)).state is JobState.CANCELLED
    assert await world.counted() == 0
    assert (world.backlog.forgotten, world.backlog.changes) == ([first.id], [first.id])
    assert pressed.card is not None
    assert pressed.card.final
    assert pressed.notice == ""


async def test_cancel_while_it_is_drawn(world: World) -> None:
    first = await a_job(world)
    async with world.ctx.db.write() as tx:
        await jobs.claim(tx, [first.id], now=1.0)
    await world.studio.press(ADA, HERE, ButtonPress("cancel", first.id), ref("c"))
    assert (await world.job(first.id)).state is JobState.CANCELLED
    assert await world.counted() == 0


async def test_of_many_cancels_one_refunds(world: World) -> None:
    first = await a_job(world, count="2")
    presses = (world.studio.press(ADA, HERE, ButtonPress("cancel", first.id), ref(f"c{i}")) for i in range(6))
    notices = [pressed.notice for pressed in await asyncio.gather(*presses)]
    assert notices.count("") == 1
    assert world.backlog.forgotten == [first.id]
    assert await world.count("ledger") == 2


async def test_too_late_to_cancel_changes_nothing_and_says_so(world: World) -> None:
    first = await a_job(world, count="2")
    await world.paint(first.id)
    pressed = await world.studio.press(ADA, HERE, ButtonPress("cancel", first.id), ref("c"))
    assert pressed.notice == world.studio.text("refusal.job.ended", "en")
    assert (await world.job(first.id)).state is JobState.PAINTED
    assert await world.counted() == 2
    assert world.backlog.forgotten == []


async def test_who_may_cancel(world: World) -> None:
    first = await a_job(world)
    with pytest.raises(NotAllowed):
        await world.studio.press(BOB, HERE, ButtonPress("cancel", first.id), ref("c"))
    with pytest.raises(NotFound):  # an admin of another place, where it was not shown
        await world.studio.press(ADMIN, THERE, ButtonPress("cancel", first.id), ref("c"))
    await world.studio.press(ADMIN, HERE, ButtonPress("cancel", first.id), ref("c"))
    assert (await world.job(first.id)).state is JobState.CANCELLED


async def test_an_admin_of_a_place_that_it_was_not_asked_in_may_not_cancel(world: World) -> None:
    first = await a_job(world)
    async with world.ctx.db.write() as tx:
        await messages.add_card(tx, "there", first.id, Address("chat", THERE.channel), MessageState.SHOWN)
    with pytest.raises(NotAllowed):
        await world.studio.press(ADMIN, THERE, ButtonPress("cancel", first.id), ref("c"))
    await world.studio.press(replace(BOB, is_owner=True), THERE, ButtonPress("cancel", first.id), ref("c"))
    assert (await world.job(first.id)).state is JobState.CANCELLED


async def test_originals_are_handed_back_where_the_adapter_answers(world: World) -> None:
    first = await a_job(world, count="2")
    with pytest.raises(NotFound):
        await world.studio.press(ADA, HERE, ButtonPress("original", first.id), ref("o", answered=True))
    await world.paint(first.id)
    both = await world.studio.press(ADA, HERE, ButtonPress("original", first.id), ref("o", answered=True))
    assert [file.path.is_file() for file in both.files] == [True, True]
    one = await world.studio.press(ADA, HERE, ButtonPress("original", first.id, 1), EventRef("p"))
    assert one.files == both.files[1:]
    assert world.backlog.posts == 0


async def test_originals_are_posted_where_the_adapter_only_saves(world: World) -> None:
    first = await a_job(world, count="2")
    await world.paint(first.id)
    for _ in range(2):
        pressed = await world.studio.press(BOB, HERE, ButtonPress("original", first.id, 1), ref("o"))
        assert (pressed.files, pressed.card, pressed.new) == ((), None, None)
        assert pressed.notice == world.studio.text("studio.originals.sent", "en")
    async with world.ctx.db.read() as tx:
        rows = [m for m in await messages.of_job(tx, first.id) if m.kind is MessageKind.DOCUMENT]
    assert [(messages.indexes_of(row), row.state) for row in rows] == [((1,), MessageState.WANTED)]


# ---- the same button again and again

DRAWING = ["reroll", "seed", "vary", "upscale"]


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came")


async def drawn(world: World) -> Job:
    """A painted job of an owner's, whom no quota stops, so that only the buttons decide."""
    first = await draw(world.ctx, BOSS, HERE, DrawForm("an apple", count="2"), ref("first"))
    await world.paint(first.id)
    return first


BOSS = replace(ADA, is_owner=True)


async def tap(
    world: World, what: ButtonPress, event: str, who: Actor = BOSS, *, answered: bool = False
) -> ButtonResult:
    return await world.studio.press(who, HERE, what, ref(event, answered=answered))


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("action", DRAWING)
async def test_quick_presses_of_one_button_are_one_job(world: World, action: str, answered: bool) -> None:
    first = await drawn(world)
    what = ButtonPress(action, first.id, 0)
    came = await asyncio.gather(*(tap(world, what, f"tap {n}", answered=answered) for n in range(3)))
    assert [pressed.new is not None for pressed in came].count(True) == 1
    repeated = [pressed.notice for pressed in came if pressed.new is None]
    assert repeated == [world.studio.text("studio.press.repeated", "en")] * 2
    assert (await world.count("jobs"), await world.count("messages")) == (2, 2)
    assert len(world.backlog.tickets) == 2


@pytest.mark.parametrize("action", DRAWING)
async def test_the_page_s_quick_presses_show_the_same_job(world: World, action: str) -> None:
    first = await draw(world.ctx, OWNER, PAGE, DrawForm("an apple"), ref("f", channel=None))
    await world.paint(first.id)
    made = set()
    for n in range(3):
        pressed = await world.studio.press(OWNER, PAGE, ButtonPress(action, first.id, 0), ref(f"p{n}", channel=None))
        assert pressed.new is not None
        made.add(pressed.new.job_id)
        world.clock.advance(0.5)
    assert len(made) == 1


async def test_a_later_press_another_button_and_another_person_s_are_their_own_jobs(world: World) -> None:
    first = await drawn(world)
    await tap(world, ButtonPress("vary", first.id, 0), "1")
    assert (await tap(world, ButtonPress("vary", first.id, 1), "2")).new is not None
    assert (await tap(world, ButtonPress("seed", first.id, 0), "3")).new is not None
    assert (await tap(world, ButtonPress("vary", first.id, 0), "4", BOB)).new is not None
    world.clock.advance(DOUBLE_PRESS_SECONDS)
    assert (await tap(world, ButtonPress("vary", first.id, 0), "5")).new is not None
    assert await world.count("jobs") == 6


async def test_a_press_after_a_cancelled_one_is_a_new_job(world: World) -> None:
    first = await drawn(world)
    made = (await tap(world, ButtonPress("reroll", first.id), "1")).new
    assert made is not None
    await tap(world, ButtonPress("cancel", made.job_id), "2")
    assert (await tap(world, ButtonPress("reroll", first.id), "3")).new is not None


async def test_a_press_that_waited_behind_the_first_is_still_the_same_press(world: World) -> None:
    first = await drawn(world)
    async with world.ctx.db.write():
        one = asyncio.ensure_future(tap(world, ButtonPress("reroll", first.id), "1"))
        two = asyncio.ensure_future(tap(world, ButtonPress("reroll", first.id), "2"))
        await until(lambda: world.db._groups._waiting == 2)
        # Somebody else writes for long.
        world.clock.advance(60)
    came = await asyncio.gather(one, two)
    assert [pressed.new is not None for pressed in came].count(True) == 1


async def test_a_job_from_before_the_clock_was_set_back_is_no_earlier_press(world: World) -> None:
    first = await drawn(world)
    await tap(world, ButtonPress("reroll", first.id), "1")
    world.clock.jump(-86400)
    assert (await tap(world, ButtonPress("reroll", first.id), "2")).new is not None


# ---- original files


async def coming(world: World, job_id: int) -> list[tuple[int, ...]]:
    async with world.ctx.db.read() as tx:
        rows = await messages.of_job(tx, job_id)
    return [messages.indexes_of(row) for row in rows if row.kind is MessageKind.DOCUMENT]


async def test_a_flood_of_presses_for_originals_is_bounded_by_person_and_told(world: World) -> None:
    first = await a_job(world, count="4")
    await world.paint(first.id)
    told = []
    for n in range(60):
        world.clock.advance(0.1)
        where = replace(HERE, channel="channel", thread=str(n))
        try:
            await world.studio.press(
                BOB,
                where,
                ButtonPress("original", first.id, n % 4),
                EventRef(f"o{n}", Address("chat", "channel", str(n))),
            )
        except OverQuota as refusal:
            told.append(world.studio.refused(refusal, "en").status)
    assert len(await coming(world, first.id)) == DOWNLOAD_BURST
    assert len(told) == 60 - DOWNLOAD_BURST
    assert "original files" in told[0]
    await world.studio.press(ADA, HERE, ButtonPress("original", first.id, 0), ref("ada"))
    world.clock.advance(DOWNLOAD_REFILL_SECONDS)
    await world.studio.press(BOB, HERE, ButtonPress("original", first.id, 1), ref("later"))
    assert len(await coming(world, first.id)) == DOWNLOAD_BURST + 2


async def test_the_same_file_is_not_sent_twice_at_once_to_the_same_place(world: World) -> None:
    first = await a_job(world, count="3")
    await world.paint(first.id)
    for n, who in enumerate((ADA, BOB, ADA)):
        pressed = await world.studio.press(who, HERE, ButtonPress("original", first.id, 1), ref(f"o{n}"))
        assert pressed.notice == world.studio.text("studio.originals.sent", "en")
    assert await coming(world, first.id) == [(1,)]
    await world.studio.press(ADA, HERE, ButtonPress("original", first.id), ref("all"))
    await world.studio.press(BOB, HERE, ButtonPress("original", first.id, 0), ref("more"))
    assert await coming(world, first.id) == [(1,), (0, 2)], "what is on its way already is left out"
    await world.studio.press(ADA, ALONE, ButtonPress("original", first.id, 1), ref("dm", channel="dm"))
    assert (await coming(world, first.id))[2:] == [(1,)], "another place"
    async with world.ctx.db.write() as tx:
        await tx.execute("UPDATE messages SET state = 'shown', card = '' WHERE kind = 'document'")
    world.clock.advance(DOWNLOAD_REFILL_SECONDS)
    await world.studio.press(BOB, HERE, ButtonPress("original", first.id, 1), ref("again"))
    assert (await coming(world, first.id))[3:] == [(1,)], "it had arrived"


async def test_where_the_adapter_answers_a_double_press_sends_files_once(world: World) -> None:
    first = await a_job(world)
    await world.paint(first.id)
    what = ButtonPress("original", first.id)
    came = [await world.studio.press(BOB, HERE, what, ref(f"o{n}", answered=True)) for n in range(3)]
    assert [len(pressed.files) for pressed in came] == [1, 0, 0]
    assert came[1].notice == world.studio.text("studio.originals.sent", "en")
    for n in range(DOWNLOAD_BURST - 1):
        world.clock.advance(3)
        assert (await world.studio.press(BOB, HERE, what, ref(f"p{n}", answered=True))).files
    world.clock.advance(3)
    with pytest.raises(OverQuota):
        await world.studio.press(BOB, HERE, what, ref("last", answered=True))


async def test_an_edit_takes_ones_last_picture_in_this_channel(world: World, ctx: AppContext) -> None:
    ctx = replace(ctx, default_quota=Limit(100))

    async def edited(actor: Actor = ADA, place: Place = HERE, flag: str = "") -> Job:
        event = ref(f"edit {actor.name} {place.channel} {at} {flag}")
        return await job_actions.edit_drawn(ctx, actor, place, DrawForm(f"make it night{flag}"), event)

    at = 0
    for number, (actor, place, prompt) in enumerate(
        [
            (ADA, HERE, "first"),
            (ADA, HERE, "second"),
            (ADA, HERE, "third --private"),
            (BOB, HERE, "his"),
            (ADA, THERE, "4"),
        ]
    ):
        job = await draw(ctx, actor, place, DrawForm(prompt), ref(str(number)))
        await world.paint(job.id)
    job = await edited()
    # The demo edits nothing, so the words are a prompt and the picture is where it starts.
    assert (job.request.typed, job.request.image != "", job.request.references) == ("make it night", True, ())
    async with ctx.db.read() as tx:
        found = await pictures.last_of(tx, ADA, HERE)
    assert found is not None
    assert found.job_id == 2
    for actor, place in ((OWNER, HERE), (BOB, THERE), (ADA, ALONE)):
        with pytest.raises(NotFound) as refused:
            await edited(actor, place)
        assert refused.value.key == "refusal.edit.none"
    async with ctx.db.read() as tx:
        (earlier,) = await pictures.of_job(tx, 1)
    (ctx.pictures / earlier.path).write_bytes(source_images.picture(192, 96))
    wide = (await edited(flag=" --from 1")).request
    assert wide.width > wide.height
    assert wide.typed == "make it night"
    with pytest.raises(NotFound):
        await edited(BOB, flag=" --from 3")
    world.profiles[0] = replace(world.profiles[0], can=frozenset({Capability.EDIT}), references=4)
    at = 1
    job = await edited()
    assert (len(job.request.references), job.request.image) == (1, "")
