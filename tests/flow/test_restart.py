"""The service is killed, or stopped, at each state of a job, and started again on the same folder."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from bot.core.cards import ButtonPress, Card, Tone
from bot.core.errors import NotFound
from bot.core.jobs import MAX_ATTEMPTS, Job, JobState
from bot.core.messages import Address, EventRef, MessageKind, MessageState
from bot.core.people import Place
from bot.core.ports import Abilities
from bot.delivery import service as delivery_service
from bot.drawing import job_actions
from bot.history import listing
from bot.privacy.deletion import forget
from bot.storage import jobs, messages
from bot.storage.sql import dump_card
from engine.contract import BadRecipe
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.fakes.surface import ABLE, ABLE_SAFE, Call, Fault
from tests.flow.conftest import Make
from tests.flow.harness import CHAT, Bot


async def kill_at(bot: Bot, gate: StepGate, call: Call, fault: Fault, **form: Any) -> Job:
    """Show a job's card, let it be drawn, and wait until the service is killed at this call."""
    job = await bot.ask(**form)
    await bot.until(lambda: bot.chats.shown(job.id))
    await bot.quiet()
    bot.surface.plan(call, fault)
    gate.open()
    await bot.until(bot.surface.killed.is_set)
    return job


async def test_killed_while_it_waits(make: Make) -> None:
    engine = FakeEngine(auto_warm=False)
    bot = await make(engine=engine)
    first, second = await bot.ask(), await bot.ask(user="2")
    await bot.until(lambda: len(bot.chats.messages) == 2)
    await bot.quiet()
    await bot.restart()
    await engine.recover()
    for job in (first, second):
        done = await bot.delivered(job.id)
        assert done.attempts == 0
        assert await bot.ledger(job.id) == (2, 0, 1)
        assert len(bot.chats.shown(job.id)) == 1


async def test_killed_while_it_is_drawn(make: Make) -> None:
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    job = await bot.ask(count="2")
    await bot.until(lambda: gate.reached)
    await bot.restart()
    gate.open()
    done = await bot.delivered(job.id)
    assert done.attempts == 1
    assert await bot.ledger(job.id) == (2, 0, 2)
    assert bot.chats.pictures(job.id) == [f"easel-{job.id}-1.png", f"easel-{job.id}-2.png"]


async def test_killed_too_often_while_it_is_drawn(make: Make) -> None:
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    reached = gate.further()
    job = await bot.ask()
    for _ in range(MAX_ATTEMPTS + 1):
        await bot.until(reached)
        reached = gate.further()
        await bot.restart()
    failed = await bot.job(job.id)
    assert (failed.state, failed.error) == (JobState.FAILED, "error.engine.lost")
    assert await bot.ledger(job.id) == (2, 0, 0)


async def test_killed_when_it_is_painted(make: Make) -> None:
    """Nothing is drawn twice: what is painted is only delivered."""
    bot = await make()
    bot.surface.plan(Call.FINAL, Fault.KILLED_BEFORE)
    bot.surface.plan(Call.SEND, None, Fault.KILLED_BEFORE)
    job = await bot.ask()
    await bot.until(bot.surface.killed.is_set)
    await bot.reaches(job.id, JobState.PAINTED)
    drawn = len(bot.engine.painted)
    await bot.restart()
    await bot.delivered(job.id)
    assert len(bot.engine.painted) == drawn
    assert await bot.ledger(job.id) == (2, 0, 1)
    assert bot.chats.pictures(job.id) == [f"easel-{job.id}-1.png"]


async def test_killed_after_the_edit_arrived(make: Make) -> None:
    bot = await make()
    gate = StepGate()
    bot.engine._pause = gate
    job = await kill_at(bot, gate, Call.FINAL, Fault.KILLED_AFTER)
    await bot.reaches(job.id, JobState.PAINTED)
    await bot.restart()
    await bot.delivered(job.id)
    assert bot.chats.pictures(job.id) == [f"easel-{job.id}-1.png"]
    assert len(bot.chats.shown(job.id)) == 1


async def test_killed_when_it_is_delivered(make: Make) -> None:
    bot = await make()
    job = await bot.ask()
    await bot.delivered(job.id)
    calls = len(bot.surface.calls)
    await bot.restart()
    await bot.quiet()
    assert len(bot.surface.calls) == calls
    assert await bot.ledger(job.id) == (2, 0, 1)


async def test_killed_before_the_adapter_made_its_first_answer(make: Make) -> None:
    engine = FakeEngine(auto_warm=False)
    bot = await make(engine=engine)
    job = await bot.ask(answered=True)
    await bot.quiet()
    assert bot.surface.calls == [], "the first answer is the adapter's"
    assert [m.state for m in await bot.rows(job.id)] == [MessageState.OPENING]
    await bot.restart()
    await engine.recover()
    await bot.delivered(job.id)
    assert len(bot.chats.shown(job.id)) == 1


@pytest.mark.parametrize("fault", [Fault.KILLED_BEFORE, Fault.KILLED_AFTER])
async def test_killed_while_a_picture_is_sent_anew(make: Make, fault: Fault) -> None:
    """The card was deleted, so the picture is sent anew; after a kill it is never sent again by itself."""
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    job = await bot.ask()
    await bot.until(lambda: bot.chats.shown(job.id))
    await bot.quiet()
    bot.chats.deleted.add("1")
    bot.surface.plan(Call.SEND, fault)  # the edit finds nothing; the new send is killed
    gate.open()
    await bot.until(bot.surface.killed.is_set)
    assert [m.state for m in await bot.rows(job.id)] == [MessageState.SENDING]
    await bot.restart()
    await bot.delivered(job.id)
    await bot.quiet()
    arrived = fault is Fault.KILLED_AFTER
    assert len(bot.chats.pictures(job.id)) == int(arrived)
    card, notice = await bot.rows(job.id)
    assert (card.state, notice.state) == (MessageState.UNCLEAR, MessageState.SHOWN)
    told = bot.chats.shown(job.id)[-1].card
    assert told is not None
    assert not told.pictures
    assert [button.press.pack() for row in told.buttons for button in row] == [f"easel:original:{job.id}"]


async def test_killed_while_a_picture_is_sent_anew_where_sends_are_safe(make: Make) -> None:
    gate = StepGate()
    bot = await make(ABLE_SAFE, FakeEngine(pause=gate))
    job = await bot.ask()
    await bot.until(lambda: bot.chats.shown(job.id))
    await bot.quiet()
    bot.chats.deleted.add("1")
    bot.surface.plan(Call.SEND, Fault.KILLED_AFTER)
    gate.open()
    await bot.until(bot.surface.killed.is_set)
    await bot.restart()
    await bot.delivered(job.id)
    await bot.quiet()
    assert bot.chats.pictures(job.id) == [f"easel-{job.id}-1.png"]
    assert len(await bot.rows(job.id)) == 1


@pytest.mark.parametrize("fault", [Fault.KILLED_BEFORE, Fault.KILLED_AFTER])
@pytest.mark.parametrize("painted", [False, True])
async def test_killed_while_the_first_card_is_sent(make: Make, fault: Fault, painted: bool) -> None:
    """It is not sent again; the picture comes as a new message, once."""
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    bot.surface.plan(Call.SEND, fault)
    job = await bot.ask()
    await bot.until(bot.surface.killed.is_set)
    (card,) = await bot.rows(job.id)
    assert card.state is MessageState.SENDING
    if painted:
        gate.open()
        await bot.reaches(job.id, JobState.PAINTED)
    for _ in range(2):
        await bot.restart()
        if not painted:
            await bot.quiet()
            assert bot.surface.calls == [Call.SEND], "a second card while the job waits"
    gate.open()
    await bot.delivered(job.id)
    await bot.restart()
    await bot.quiet()
    assert bot.surface.calls == [Call.SEND, Call.SEND]
    assert bot.chats.pictures(job.id) == [f"easel-{job.id}-1.png"]
    assert [m.state for m in await bot.rows(job.id)] == [MessageState.SHOWN]


async def test_a_lost_card_is_bound_once_and_in_its_own_chat_alone(make: Make) -> None:
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    bot.surface.plan(Call.SEND, Fault.KILLED_AFTER)
    job = await bot.ask()
    await bot.until(bot.surface.killed.is_set)
    await bot.restart()
    await bot.quiet()
    here = Address("chat", CHAT, user="2", message="1")
    for stranger in (replace(here, chat="999"), replace(here, platform="web")):
        await delivery_service.bind_lost_card(bot.ctx, job.id, stranger)
        assert [row.address.message for row in await bot.rows(job.id)] == [None]
    await delivery_service.bind_lost_card(bot.ctx, job.id, here)
    await delivery_service.bind_lost_card(bot.ctx, job.id, replace(here, message="2"))
    assert [row.address for row in await bot.rows(job.id)] == [replace(here, user="1")], (
        "the asker's, not the presser's"
    )
    gate.open()
    await bot.delivered(job.id)
    await bot.quiet()
    assert bot.surface.calls.count(Call.SEND) == 1
    assert bot.chats.pictures(job.id) == [f"easel-{job.id}-1.png"]


async def test_killed_while_the_first_card_is_sent_and_the_job_fails(make: Make) -> None:
    # The engine refuses a recipe before its first step, so it must not refuse it before the first card is sent.
    failing = asyncio.Event()
    engine = FakeEngine(pause=StepGate(), fail=lambda _: BadRecipe("planted") if failing.is_set() else None)
    bot = await make(engine=engine)
    bot.surface.plan(Call.SEND, Fault.KILLED_AFTER)
    job = await bot.ask()
    await bot.until(bot.surface.killed.is_set)
    failing.set()
    await bot.restart()
    await bot.reaches(job.id, JobState.FAILED)
    await bot.quiet()
    assert [seen.card.final for seen in bot.chats.shown(job.id) if seen.card] == [False, True]


async def test_killed_while_the_first_card_is_sent_and_the_job_is_forgotten(make: Make) -> None:
    bot = await make(engine=FakeEngine(pause=StepGate()))
    bot.surface.plan(Call.SEND, Fault.KILLED_AFTER)
    job = await bot.ask()
    await bot.until(bot.surface.killed.is_set)
    await forget(bot.ctx, bot.actor())
    await bot.restart()
    await bot.quiet()
    assert bot.surface.calls == [Call.SEND]
    assert [m.state for m in await bot.rows(job.id)] == [MessageState.GONE]


@pytest.mark.parametrize("fault", [Fault.KILLED_BEFORE, Fault.KILLED_AFTER])
async def test_a_refusal_that_a_kill_met_is_said(make: Make, fault: Fault) -> None:
    """It may be there twice, never not at all."""
    bot = await make()
    bot.surface.plan(Call.SEND, fault)
    async with bot.db.write() as tx:
        await messages.add_notice(tx, "n", Address("chat", CHAT, user="1"), dump_card(Card(Tone.PROBLEM, "No.")))
    bot.dispatch.messages_added()
    await bot.until(bot.surface.killed.is_set)
    await bot.restart()
    await bot.until(lambda: bot.chats.messages)
    await bot.quiet()
    assert {seen.card.status for seen in bot.chats.messages.values() if seen.card} == {"No."}
    assert bot.surface.calls == [Call.SEND, Call.SEND]


@pytest.mark.parametrize("able", [ABLE, ABLE_SAFE])
async def test_killed_after_the_edit_and_then_the_message_is_deleted(make: Make, able: Abilities) -> None:
    """The picture may have been seen before the message was deleted: a text offers it, and it is not sent again."""
    gate = StepGate()
    bot = await make(able, FakeEngine(pause=gate))
    job = await kill_at(bot, gate, Call.FINAL, Fault.KILLED_AFTER)
    await bot.reaches(job.id, JobState.PAINTED)
    bot.chats.deleted.add("1")
    await bot.restart()
    await bot.delivered(job.id)
    await bot.quiet()
    (offer,) = bot.chats.shown(job.id)
    assert offer.card is not None
    assert not offer.card.pictures
    assert [button.press.pack() for row in offer.card.buttons for button in row] == [f"easel:original:{job.id}"]
    assert len(bot.chats.pictures(job.id, ever=True)) == 1


async def test_killed_after_the_edit_and_then_the_chat_is_shut(make: Make) -> None:
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    job = await kill_at(bot, gate, Call.FINAL, Fault.KILLED_BEFORE)
    await bot.reaches(job.id, JobState.PAINTED)
    bot.chats.deleted.add("1")
    bot.chats.shut |= {CHAT, "@1"}
    await bot.restart()
    await bot.delivered(job.id)
    await bot.until(lambda: delivery_service.find_missed(bot.ctx, bot.actor()))


@pytest.mark.parametrize("fault", [Fault.KILLED_BEFORE, Fault.KILLED_AFTER])
async def test_killed_while_an_album_is_sent(make: Make, fault: Fault) -> None:
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    job = await kill_at(bot, gate, Call.FILES, fault, count="3")
    assert (await bot.job(job.id)).state is JobState.PAINTED
    await bot.restart()
    await bot.delivered(job.id)
    await bot.quiet()
    assert len(bot.chats.pictures(job.id)) == (3 if fault is Fault.KILLED_AFTER else 0)
    kinds = {m.kind: m.state for m in await bot.rows(job.id)}
    assert kinds[MessageKind.ALBUM] is MessageState.UNCLEAR
    assert kinds[MessageKind.NOTICE] is MessageState.SHOWN


@pytest.mark.parametrize("fault", [Fault.KILLED_BEFORE, Fault.KILLED_AFTER])
@pytest.mark.parametrize("call", [Call.SEND, Call.REMOVE])
async def test_killed_while_the_card_goes_below_its_album(make: Make, call: Call, fault: Fault) -> None:
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    job = await kill_at(bot, gate, call, fault, count="3")
    await bot.restart()
    await bot.delivered(job.id)
    await bot.quiet()
    assert len(bot.chats.pictures(job.id)) == 3
    seen = [shown.card for shown in bot.chats.shown(job.id) if shown.card is not None]
    # What may have arrived comes again rather than never, since it has the buttons.
    assert len(seen) == 1 + (call is Call.SEND and fault is Fault.KILLED_AFTER)
    assert all(card.final and card.summary and card.buttons for card in seen)


async def test_a_cancel_that_was_not_shown_yet_is_shown_after_a_restart(make: Make) -> None:
    engine = FakeEngine(auto_warm=False)
    bot = await make(engine=engine)
    job = await bot.ask()
    await bot.until(lambda: bot.chats.shown(job.id))
    await bot.quiet()
    bot.surface.plan(Call.FINAL, Fault.KILLED_BEFORE)
    await bot.cancel(job.id)
    await bot.until(bot.surface.killed.is_set)
    await bot.restart()
    await bot.quiet()
    (seen,) = bot.chats.shown(job.id)
    assert seen.card is not None
    assert seen.card.final


async def test_a_stop_puts_what_is_drawn_back_and_counts_no_attempt(make: Make) -> None:
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    running = await bot.ask(size="192x192", count="2")
    await bot.until(lambda: gate.reached)
    waiting = await bot.ask(size="256x144", user="2")
    await bot.stop()
    await bot.start()
    states = [await bot.job(j.id) for j in (running, waiting)]
    assert {j.attempts for j in states} == {0}
    gate.open()
    for job in (running, waiting):
        await bot.delivered(job.id)
    assert await bot.ledger(running.id) == (2, 0, 2)
    assert bot.files() == sorted([f"{running.id}-0.png", f"{running.id}-1.png", f"{waiting.id}-0.png"])


async def test_an_event_that_comes_again_after_a_restart_is_the_same_job(make: Make) -> None:
    bot = await make()
    job = await bot.ask(event="chat:again")
    await bot.delivered(job.id)
    await bot.restart()
    again = await bot.ask(event="chat:again")
    await bot.quiet()
    assert again.id == job.id
    assert len(bot.chats.pictures(job.id)) == 1
    assert await bot.ledger(job.id) == (2, 0, 1)


async def test_a_platform_that_comes_later_gets_what_waited_for_it(make: Make) -> None:
    bot = await make()
    bot.dispatch.detach("chat")
    job = await bot.ask()
    await bot.reaches(job.id, JobState.PAINTED)
    await bot.quiet()
    assert bot.surface.calls == []
    await bot.dispatch.attach("chat", bot.surface)
    await bot.delivered(job.id)
    async with bot.db.read() as tx:
        assert await jobs.in_state(tx, JobState.PAINTED) == ()
        assert await messages.wanted(tx) == ()


async def test_jobs_that_were_drawn_when_it_was_killed_are_tried_one_by_one(make: Make) -> None:
    """One of them may have been what killed it."""
    gate = StepGate()
    engine = FakeEngine(pause=gate, auto_warm=False)
    bot = await make(engine=engine)
    both = [await bot.ask(user="1"), await bot.ask(user="2")]
    await engine.recover()
    await bot.until(lambda: len(engine.painted) == 2)
    await bot.restart()
    await bot.until(lambda: len(engine.painted) == 3)
    states = [(await bot.job(job.id)).state for job in both]
    assert states == [JobState.RUNNING, JobState.QUEUED]
    gate.open()
    for job in both:
        await bot.delivered(job.id)


async def test_after_a_backup_without_pictures_it_starts_and_says_what_is_missing(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    bot = await make()
    kept, lost = await bot.ask(), await bot.ask()
    for job in (kept, lost):
        await bot.delivered(job.id)
    next(bot.pictures.rglob(f"{lost.id}-0.png")).unlink()
    await bot.restart()
    assert "1 of 2 pictures have no file" in caplog.text
    card = await listing.history_page(bot.ctx, bot.actor())
    assert any("no longer kept" in note for note in card.notes)
    assert len(card.facts) == 2
    ref = EventRef("original", Address("chat", "100", user="1"))
    with pytest.raises(NotFound) as refused:
        await job_actions.originals(
            bot.ctx, bot.actor(), Place("chat", None, "100"), ButtonPress("original", lost.id), ref
        )
    assert refused.value.key == "refusal.picture.not_found"
    await bot.delivered((await bot.ask()).id)
