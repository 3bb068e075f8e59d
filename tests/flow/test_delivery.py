"""What delivery does when a chat does not take what it is given."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bot.cards import i18n
from bot.core.cards import Card, Tone
from bot.core.jobs import Job, JobState
from bot.core.messages import Address, EventRef, MessageKind, MessageState
from bot.core.ports import Surface
from bot.delivery import service as delivery_service
from bot.delivery.message_sync import MessageSync
from bot.delivery.store import MessageItem
from bot.observability.otel import OtelTraces
from bot.storage import data_files, jobs, messages
from bot.storage.sql import dump_card
from engine.contract import BadRecipe, EngineError, Recipe
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.fakes.surface import ABLE, ABLE_SAFE, Call, Fault, Seen
from tests.flow.conftest import Make
from tests.flow.harness import CHAT, Bot


async def shown_and_held(make: Make, *, count: str = "1") -> tuple[Bot, Job, StepGate]:
    """A job whose first card is shown, and whose drawing waits for the gate."""
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    job = await bot.ask(count=count)
    await bot.until(lambda: bot.chats.messages and gate.reached)
    await bot.quiet()
    return bot, job, gate


async def test_a_deleted_card_comes_back_with_its_picture(make: Make) -> None:
    bot, job, gate = await shown_and_held(make)
    bot.chats.deleted.add("1")
    gate.open()
    await bot.delivered(job.id)
    assert bot.chats.pictures(job.id) == [f"easel-{job.id}-1.png"]
    assert bot.surface.calls.count(Call.SEND) == 2


async def test_a_deleted_card_is_left_alone_while_there_is_no_picture(make: Make) -> None:
    bot, job, gate = await shown_and_held(make)
    bot.chats.deleted.add("1")
    calls = len(bot.surface.calls)
    for _ in range(5):
        gate.let(1)
        await bot.quiet()
    assert bot.surface.calls[calls:] == [Call.PROGRESS], "one try, then silence"
    assert bot.chats.shown(job.id) == []


async def test_a_cancelled_job_whose_card_was_deleted_stays_silent(make: Make) -> None:
    bot, job, _ = await shown_and_held(make)
    bot.chats.deleted.add("1")
    await bot.cancel(job.id)

    async def gone() -> bool:
        return [m.state for m in await bot.rows(job.id)] == [MessageState.GONE]

    await bot.until(gone)
    await bot.quiet()
    assert bot.chats.shown(job.id) == []


async def test_a_chat_that_is_gone_leaves_the_picture_in_history(make: Make) -> None:
    bot, job, gate = await shown_and_held(make)
    bot.chats.deleted.add("1")
    bot.chats.shut |= {CHAT, "@1"}
    gate.open()
    await bot.delivered(job.id)
    assert [m.state for m in await bot.rows(job.id)] == [MessageState.GONE]
    assert await bot.ledger(job.id) == (2, 0, 1)
    assert bot.files() == [f"{job.id}-0.png"]


async def test_what_could_be_shown_nowhere_is_said_at_the_next_command(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    bot, job, gate = await shown_and_held(make)
    bot.chats.deleted.add("1")
    bot.chats.shut |= {CHAT, "@1"}
    gate.open()
    await bot.delivered(job.id)
    told = await delivery_service.find_missed(bot.ctx, bot.actor())
    assert told is not None
    assert "/history" in told.notice
    assert "can be shown nowhere" in caplog.text
    assert await delivery_service.find_missed(bot.ctx, bot.actor("2")) is None
    await bot.restart()
    assert await delivery_service.find_missed(bot.ctx, bot.actor()) == told
    await delivery_service.mark_told(bot.ctx, bot.actor(), told)
    assert await delivery_service.find_missed(bot.ctx, bot.actor()) is None


async def test_a_failure_that_could_be_shown_nowhere_is_said_too(make: Make) -> None:
    bot = await make(engine=FakeEngine(fail=lambda _recipe: BadRecipe("planted")))
    bot.chats.shut |= {CHAT, "@1"}
    job = await bot.ask()
    await bot.reaches(job.id, JobState.FAILED)
    await bot.until(lambda: delivery_service.find_missed(bot.ctx, bot.actor()))
    told = await delivery_service.find_missed(bot.ctx, bot.actor(locale="zh_CN"))
    assert told is not None
    assert "没有成功" in told.notice


async def test_nothing_is_missed_of_what_was_cancelled_or_shown(make: Make) -> None:
    bot, job, gate = await shown_and_held(make)
    bot.chats.deleted.add("1")
    await bot.cancel(job.id)
    gate.open()
    await bot.quiet()
    shown = await bot.ask()
    await bot.delivered(shown.id)
    assert await delivery_service.find_missed(bot.ctx, bot.actor()) is None


async def test_a_chat_that_is_shut_gives_way_to_the_private_one(make: Make) -> None:
    bot, job, gate = await shown_and_held(make)
    bot.chats.deleted.add("1")
    bot.chats.shut.add(CHAT)
    gate.open()
    await bot.delivered(job.id)
    (seen,) = bot.chats.shown(job.id)
    assert seen.chat == "@1"
    assert seen.card is not None
    assert i18n.text("en", "note.elsewhere") in seen.card.notes
    assert bot.chats.pictures(job.id) == [f"easel-{job.id}-1.png"]
    await bot.quiet()
    assert await delivery_service.find_missed(bot.ctx, bot.actor()) is None


async def test_a_first_card_that_nothing_takes_goes_to_the_private_chat_and_its_picture_too(make: Make) -> None:
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    bot.chats.shut.add(CHAT)
    job = await bot.ask()
    await bot.until(lambda: bot.chats.shown(job.id))
    gate.open()
    await bot.delivered(job.id)
    (seen,) = bot.chats.shown(job.id)
    assert seen.chat == "@1"
    assert bot.chats.pictures(job.id) == [f"easel-{job.id}-1.png"]


async def test_an_answer_that_nothing_takes_goes_to_the_private_chat(make: Make) -> None:
    bot = await make()
    bot.chats.shut.add(CHAT)
    async with bot.db.write() as tx:
        await messages.add_notice(tx, "n", Address("chat", CHAT, user="1"), dump_card(Card(Tone.INFO, "Hello.")))
    bot.dispatch.messages_added()
    await bot.until(lambda: bot.chats.messages)
    assert [seen.chat for seen in bot.chats.messages.values()] == ["@1"]


async def test_a_closed_thread_gives_way_to_the_private_chat_and_then_to_its_channel(make: Make) -> None:
    bot = await make()
    bot.chats.closed.add("7")
    first = await bot.ask(thread="7")
    await bot.delivered(first.id)
    assert [seen.chat for seen in bot.chats.shown(first.id)] == ["@1"]
    bot.chats.shut.add("@1")
    second = await bot.ask(thread="7")
    await bot.delivered(second.id)
    assert [seen.chat for seen in bot.chats.shown(second.id)] == [CHAT]
    assert bot.chats.pictures(second.id) == [f"easel-{second.id}-1.png"]


@pytest.mark.parametrize("count", ["1", "3"])
async def test_a_chat_without_pictures_says_why_and_they_go_to_the_person(make: Make, count: str) -> None:
    bot, job, gate = await shown_and_held(make, count=count)
    bot.chats.bare.add(CHAT)
    gate.open()
    await bot.delivered(job.id)
    await bot.quiet()
    (seen,) = bot.chats.shown(job.id)
    assert seen.card is not None
    assert seen.card.pictures == ()
    assert i18n.text("en", "note.no_pictures.apart") in seen.card.notes
    names = [f"easel-{job.id}-{n}.png" for n in range(1, int(count) + 1)]
    assert bot.chats.pictures(job.id) == names
    assert {m.chat for m in bot.chats.messages.values() if m.files} == {"@1"}
    await bot.restart()
    await bot.quiet()
    assert bot.chats.pictures(job.id) == names


async def test_a_kill_before_the_private_pictures_sends_them_once(make: Make) -> None:
    bot, job, gate = await shown_and_held(make, count="3")
    bot.chats.bare.add(CHAT)
    bot.surface.plan(Call.FILES, Fault.KILLED_BEFORE)
    gate.open()
    await bot.until(bot.surface.killed.is_set)
    await bot.restart()
    await bot.delivered(job.id)
    await bot.quiet()
    # Whether they were sent is not known: a text offers them, and nothing is sent by itself.
    assert bot.chats.pictures(job.id) == []
    assert len(bot.chats.shown(job.id)) == 2


async def test_who_can_not_be_sent_the_pictures_is_told_later(make: Make) -> None:
    bot, job, gate = await shown_and_held(make)
    bot.chats.bare.add(CHAT)
    bot.chats.shut.add("@1")
    gate.open()
    await bot.delivered(job.id)
    assert bot.chats.pictures(job.id) == []
    assert await delivery_service.find_missed(bot.ctx, bot.actor()) is not None


async def test_originals_that_a_chat_does_not_take_go_to_the_person(make: Make) -> None:
    bot = await make()
    job = await bot.ask()
    await bot.delivered(job.id)
    bot.chats.bare.add(CHAT)
    async with bot.db.write() as tx:
        await messages.add_files(tx, "o", job.id, Address("chat", CHAT, user="1"), MessageKind.DOCUMENT)
    bot.dispatch.messages_added()
    await bot.until(lambda: [m for m in bot.chats.messages.values() if m.originals])
    assert [m.chat for m in bot.chats.messages.values() if m.originals] == ["@1"]


async def test_busy_is_tried_again_later(make: Make) -> None:
    bot = await make()
    bot.surface.plan(Call.SEND, Fault.BUSY, Fault.BUSY)
    bot.surface.plan(Call.FINAL, Fault.BUSY)
    job = await bot.ask()
    await bot.delivered(job.id)
    assert bot.chats.pictures(job.id) == [f"easel-{job.id}-1.png"]
    assert len(bot.chats.shown(job.id)) == 1


async def test_busy_takes_the_intent_back(make: Make) -> None:
    bot, job, gate = await shown_and_held(make, count="2")
    bot.surface.plan(Call.FILES, Fault.BUSY)
    gate.open()
    await bot.delivered(job.id)
    assert len(bot.chats.pictures(job.id)) == 2
    assert {m.state for m in await bot.rows(job.id)} == {MessageState.SHOWN}


@pytest.mark.parametrize("fault", [Fault.UNCLEAR_SENT, Fault.UNCLEAR_LOST, Fault.BUG])
async def test_an_unclear_album_is_not_sent_again(make: Make, fault: Fault) -> None:
    bot, job, gate = await shown_and_held(make, count="3")
    bot.surface.plan(Call.FILES, fault)
    gate.open()
    await bot.delivered(job.id)
    await bot.quiet()
    assert bot.surface.calls.count(Call.FILES) == 1
    assert len(bot.chats.pictures(job.id)) == (3 if fault is Fault.UNCLEAR_SENT else 0)
    notices = [
        seen.card for seen in bot.chats.shown(job.id) if seen.card is not None and seen.card.tone is Tone.PROBLEM
    ]
    assert len(notices) == 1
    assert notices[0].buttons


async def test_a_surface_that_raises_keeps_its_chat_sender(make: Make) -> None:
    bot, job, gate = await shown_and_held(make)
    other = await bot.ask("another", user="2")
    for call in (Call.PROGRESS, Call.FINAL):
        bot.surface.plan(call, *[Fault.BUG] * 3)
    gate.open()
    await bot.delivered(job.id)
    await bot.delivered(other.id)
    assert len(bot.chats.pictures(job.id)) == 1
    assert len(bot.chats.pictures(other.id)) == 1


async def test_a_text_card_whose_send_stays_unclear_does_not_fill_the_chat(make: Make) -> None:
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    bot.surface.plan(Call.SEND, *[Fault.UNCLEAR_SENT] * 20)
    job = await bot.ask()
    await bot.until(lambda: len(bot.surface.calls) >= 5)
    await bot.quiet()
    for _ in range(50):
        await bot.until(lambda: True)
    sent = bot.surface.calls.count(Call.SEND)
    assert sent == 5
    bot.surface.plan(Call.SEND)
    gate.open()
    await bot.delivered(job.id)
    assert bot.chats.pictures(job.id) == [f"easel-{job.id}-1.png"]


async def test_an_edit_without_an_answer_and_then_the_message_is_deleted(make: Make) -> None:
    """The picture may have been seen before the message was deleted: a text offers it, and it is not sent again."""
    bot, job, gate = await shown_and_held(make)
    bot.surface.plan(Call.FINAL, Fault.UNCLEAR_SENT, Fault.GONE)
    gate.open()
    await bot.delivered(job.id)
    await bot.quiet()
    assert len(bot.chats.pictures(job.id, ever=True)) == 1
    assert [m.state for m in await bot.rows(job.id)] == [MessageState.UNCLEAR, MessageState.SHOWN]


async def test_an_edit_that_was_put_off_and_then_the_message_is_deleted(make: Make) -> None:
    bot, job, gate = await shown_and_held(make)
    bot.surface.plan(Call.FINAL, Fault.BUSY, Fault.GONE)
    gate.open()
    await bot.delivered(job.id)
    assert len(bot.chats.pictures(job.id)) == 1


async def test_an_album_comes_before_the_card_that_has_no_room(make: Make) -> None:
    bot, job, gate = await shown_and_held(make, count="4")
    (first,) = bot.chats.messages
    gate.open()
    await bot.delivered(job.id)
    album, card = (seen for name, seen in bot.chats.messages.items() if name not in bot.chats.deleted)
    assert [f.name for f in album.files] == [f"easel-{job.id}-{n}.png" for n in (1, 2, 3, 4)]
    assert not album.originals
    assert card.card is not None
    assert (card.card.pictures, card.card.headline, bool(card.card.summary)) == ((), "", True)
    assert bot.chats.deleted == {first}, "the card that was shown while it was drawn"
    assert [(m.kind, m.address.replaces) for m in await bot.rows(job.id)] == [
        (MessageKind.CARD, None),
        (MessageKind.ALBUM, None),
    ]


async def test_a_card_that_can_not_go_below_its_album_stays_where_it_is(make: Make) -> None:
    bot, job, gate = await shown_and_held(make, count="2")
    bot.surface.plan(Call.SEND, Fault.GONE)
    gate.open()
    await bot.delivered(job.id)
    card, album = (seen for name, seen in bot.chats.messages.items() if name not in bot.chats.deleted)
    assert card.card is not None
    assert card.card.summary
    assert len(album.files) == 2
    assert [m.state for m in await bot.rows(job.id)] == [MessageState.SHOWN] * 2


async def test_a_card_that_nobody_has_seen_comes_below_its_album(make: Make) -> None:
    bot = await make()
    bot.surface.plan(Call.SEND, *[Fault.BUSY] * 3)
    job = await bot.ask(count="2")
    await bot.delivered(job.id)
    kinds = [bool(seen.files) for name, seen in bot.chats.messages.items() if name not in bot.chats.deleted]
    assert kinds == [True, False]


async def test_a_delivered_job_is_told_to_its_viewers_and_looked_at_no_more(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    finals: list[Job] = []
    ordinary = MessageSync._sync_card

    async def sync(self: MessageSync, surface: Surface, item: MessageItem, job: Job) -> bool:
        if item.ended:
            finals.append(job)
        return await ordinary(self, surface, item, job)

    monkeypatch.setattr(MessageSync, "_sync_card", sync)
    # A look at its progress may find it painted a moment before its end is told.
    monkeypatch.setattr(delivery_service, "PROGRESS_EVERY", 1000.0)
    bot, job, gate = await shown_and_held(make)
    told: list[JobState] = []

    async def view() -> None:
        with bot.dispatch.live.subscribe((job.id,)) as changes:
            async for _ in changes:
                async with bot.db.read() as tx:
                    now = await jobs.get(tx, job.id)
                assert now is not None
                told.append(now.state)

    viewer = asyncio.create_task(view())
    await asyncio.sleep(0)
    gate.open()
    await bot.until(lambda: JobState.DELIVERED in told)
    viewer.cancel()
    await asyncio.gather(viewer, return_exceptions=True)
    await bot.quiet()
    assert [final.state for final in finals] == [JobState.PAINTED]


async def test_a_picture_behind_a_link_is_not_sent(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a foreign backup, whose rows and files may lead to any file of this machine."""
    bot, job, gate = await shown_and_held(make)
    monkeypatch.setattr(data_files, "is_linked", lambda *_: True)
    gate.open()
    await bot.delivered(job.id)
    assert bot.chats.pictures(job.id) == []
    (shown,) = bot.chats.shown(job.id)
    assert shown.card is not None
    assert shown.card.tone is Tone.DONE


@pytest.mark.parametrize("able", [True, False])
async def test_the_album_of_a_private_card_that_nobody_has_seen_is_private(make: Make, *, able: bool) -> None:
    """Its pictures are there before its card could be sent to the person alone."""
    bot = await make(replace(ABLE, private_send=able))
    bot.surface.plan(Call.SEND, *[Fault.BUSY] * 3)
    job = await bot.ask(private=True, user="5", count="2")
    await bot.delivered(job.id)
    assert [seen.chat for seen in bot.chats.messages.values()] == (["@5", "@5"] if able else [])
    assert len(bot.chats.pictures(job.id)) == (2 if able else 0)


@pytest.mark.parametrize("apart", [True, False])
async def test_an_album_that_can_not_be_sent_there_is_named_on_the_card(make: Make, *, apart: bool) -> None:
    bot, job, gate = await shown_and_held(make, count="2")
    faults = [Fault.GONE] if apart else [Fault.GONE, Fault.GONE]
    bot.surface.plan(Call.FILES, *faults)
    gate.open()
    await bot.delivered(job.id)
    (shown,) = (seen for seen in bot.chats.shown(job.id) if seen.card is not None)
    assert shown.card is not None
    assert shown.card.notes == (i18n.text("en", "note.no_pictures.apart" if apart else "note.no_pictures"),)
    assert len(bot.chats.pictures(job.id)) == (2 if apart else 0)


async def test_a_private_card_never_goes_to_the_channel(make: Make) -> None:
    bot = await make(replace(ABLE_SAFE, private_send=False))
    job = await bot.ask(private=True)
    await bot.delivered(job.id)
    assert bot.chats.messages == {}
    assert [m.state for m in await bot.rows(job.id)] == [MessageState.GONE]


async def test_a_private_card_goes_to_the_person_where_that_is_possible(make: Make) -> None:
    bot = await make()
    job = await bot.ask(private=True, user="5", count="2")
    await bot.delivered(job.id)
    assert {seen.chat for seen in bot.chats.messages.values()} == {"@5"}
    assert len(bot.chats.pictures(job.id)) == 2


async def test_a_private_answer_that_can_not_be_edited_any_more_waits_in_history(make: Make) -> None:
    gate = StepGate()
    bot = await make(replace(ABLE_SAFE, private_send=False), FakeEngine(pause=gate))
    job = await bot.ask(private=True, answered=True, event="e")
    async with bot.db.write() as tx:
        assert await messages.bind(tx, job.id, "e", Address("chat", CHAT, message="gone", private=True))
    gate.open()
    await bot.delivered(job.id)
    assert bot.chats.messages == {}


async def test_a_job_that_is_shown_nowhere_is_delivered_at_once(make: Make) -> None:
    bot = await make()
    job = await bot.ask(platform="web", shown=False, count="2")
    await bot.delivered(job.id)
    assert bot.surface.calls == []


async def test_the_first_answer_is_the_adapters_and_delivery_goes_on_from_there(make: Make) -> None:
    gate = StepGate()
    bot = await make(ABLE_SAFE, FakeEngine(pause=gate))
    job = await bot.ask(answered=True, event="e")
    gate.open()
    await bot.reaches(job.id, JobState.PAINTED)
    await bot.quiet()
    assert bot.surface.calls == []
    there = Address("chat", CHAT, message=bot.chats.put(Seen(CHAT, None)))
    async with bot.db.write() as tx:
        assert await messages.bind(tx, job.id, "e", there)
    bot.dispatch.job_changed(job.id)
    await bot.delivered(job.id)
    assert bot.surface.calls == [Call.FINAL]
    assert len(bot.chats.pictures(job.id)) == 1


async def test_an_answer_that_failed_is_sent_by_delivery(make: Make) -> None:
    bot = await make(ABLE_SAFE)
    job = await bot.ask(answered=True, event="e")
    await bot.reaches(job.id, JobState.PAINTED)
    async with bot.db.write() as tx:
        assert await messages.unbind(tx, job.id, "e")
    bot.dispatch.job_changed(job.id)
    await bot.delivered(job.id)
    assert len(bot.chats.pictures(job.id)) == 1


async def test_a_notice_is_sent_once(make: Make) -> None:
    bot = await make()
    ref = EventRef("chat:refused", Address("chat", CHAT, user="1"))
    assert ref.address is not None
    for _ in range(2):
        async with bot.db.write() as tx:
            await messages.add_notice(tx, ref.event, ref.address, dump_card(Card(Tone.PROBLEM, "No.", final=True)))
        bot.dispatch.messages_added()
        await bot.until(lambda: bot.chats.messages)
        await bot.quiet()
    assert [seen.card.status for seen in bot.chats.messages.values() if seen.card] == ["No."]


async def test_originals_are_sent_when_asked_for(make: Make) -> None:
    bot = await make()
    job = await bot.ask(count="3")
    await bot.delivered(job.id)
    before = len(bot.chats.messages)
    async with bot.db.write() as tx:
        await messages.add_files(tx, "press:1", job.id, Address("chat", CHAT), MessageKind.DOCUMENT, indexes=(2,))
    bot.dispatch.messages_added()
    await bot.until(lambda: len(bot.chats.messages) > before)
    (seen,) = list(bot.chats.messages.values())[before:]
    assert seen.originals
    assert [f.name for f in seen.files] == [f"easel-{job.id}-3.png"]
    assert (await bot.job(job.id)).state is JobState.DELIVERED


async def test_part_of_a_job_fails_and_the_rest_is_refunded(make: Make) -> None:
    def fail(recipe: Recipe) -> EngineError | None:
        return BadRecipe("planted") if recipe.id.endswith(":1") else None

    bot = await make(ABLE_SAFE, FakeEngine(fail=fail))
    job = await bot.ask(count="3")
    await bot.delivered(job.id)
    assert bot.chats.pictures(job.id) == [f"easel-{job.id}-1.png", f"easel-{job.id}-3.png"]
    assert await bot.ledger(job.id) == (3, 0, 2)
    (seen,) = bot.chats.shown(job.id)
    assert seen.card is not None
    assert seen.card.notes


async def test_progress_is_coalesced_to_what_the_chat_allows(make: Make) -> None:
    gate = StepGate()
    bot = await make(replace(ABLE, edit_every=1000.0), FakeEngine(pause=gate))
    job = await bot.ask()
    await bot.until(lambda: bot.chats.messages)
    gate.open()
    await bot.reaches(job.id, JobState.PAINTED)
    assert len(bot.surface.calls) == 1, "all of its progress came within one pause"
    bot.clock.advance(1000)
    await bot.delivered(job.id)
    assert bot.surface.calls == [Call.SEND, Call.FINAL]


async def test_the_delivery_is_a_part_of_the_jobs_trace(make: Make) -> None:
    bot = await make()
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    bot.dispatch._sync._metrics.traces = OtelTraces(provider)
    job = await bot.ask()
    await bot.delivered(job.id)
    spans = {span.name: span for span in exporter.get_finished_spans()}
    deliver, traced = spans["deliver"], spans["job"]
    assert deliver.parent is not None
    assert traced.context is not None
    assert deliver.parent.span_id == traced.context.span_id
    assert deliver.attributes == {"easel.job": job.id, "easel.platform": "chat"}
