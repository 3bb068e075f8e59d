"""Whoever wants it is forgotten: rows, files and messages, whatever is going on and whenever the service is killed."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace

import pytest

from bot.core.cards import ButtonPress, Card
from bot.core.errors import NotFound
from bot.core.jobs import JobState
from bot.core.messages import Address, EventRef
from bot.core.people import Place
from bot.core.ports import Abilities
from bot.delivery import service as delivery_service
from bot.drawing import job_actions
from bot.history import service as history_service
from bot.history import store as history_rows
from bot.privacy.deletion import forget, losses
from bot.storage import data_files, pictures
from tests.fakes.engine import FakeEngine
from tests.fakes.source_images import picture
from tests.fakes.step_gate import StepGate
from tests.fakes.surface import ABLE, ABLE_SAFE, Call, Fault, Seen
from tests.flow.conftest import Make
from tests.flow.harness import CHAT, Bot, Hang

WORD = "xyzzymarker"
HERE = Place("chat", None, CHAT)


def dump(bot: Bot) -> str:
    """Every row of every table as SQL."""
    with sqlite3.connect(bot.folder / "easel.db") as db:
        return "\n".join(db.iterdump())


def inputs(bot: Bot) -> list[str]:
    return [path.name for path in (bot.folder / "inputs").glob("*")]


async def ledger(bot: Bot) -> list[tuple[object, ...]]:
    async with bot.db.read() as tx:
        return [tuple(row) for row in await tx.execute_fetchall("SELECT * FROM ledger ORDER BY id")]


async def gone(bot: Bot, job_id: int) -> None:
    """Wait until no message is left to be taken away."""

    async def over() -> bool:
        return not any(row.unwanted for row in await bot.rows(job_id))

    await bot.until(over)


async def drawn(bot: Bot) -> tuple[int, int, int]:
    """Ann's album, her picture from a given one, and what Bob made of the album."""
    first = await bot.ask(f"a {WORD} apple", count="4", negative=f"no {WORD}", guidance="3")
    second = await bot.ask(f"the {WORD} sea", image=picture())
    await bot.delivered(first.id)
    await bot.delivered(second.id)
    ref = EventRef("chat:bob", Address("chat", CHAT, user="2"))
    third = await job_actions.reroll(bot.ctx, bot.actor("2"), HERE, ButtonPress("reroll", first.id), ref)
    await bot.delivered(third.id)
    return first.id, second.id, third.id


@pytest.mark.parametrize("safe", [False, True])
async def test_nothing_is_left_but_what_was_counted(make: Make, safe: bool) -> None:
    bot = await make(replace(ABLE_SAFE, pictures_in_card=1, safe_resend=safe))
    first, second, third = await drawn(bot)
    async with bot.db.write() as tx:
        await history_rows.add_favourite(tx, 1, await pictures.of_job(tx, third), now=1.0)
        await history_rows.add_favourite(tx, 2, await pictures.of_job(tx, first), now=1.0)
    before = await ledger(bot)
    lost = await losses(bot.ctx, bot.actor())
    assert (lost.jobs, lost.waiting, lost.pictures, lost.favourites) == (2, 0, 5, 4)
    assert await forget(bot.ctx, bot.actor()) == lost
    for job_id in (first, second):
        await gone(bot, job_id)
        assert bot.chats.shown(job_id) == []
        assert bot.chats.pictures(job_id) == [], "the album beside the card too"
    assert len(bot.chats.pictures(third)) == 4
    assert bot.files() == [f"{third}-{i}.png" for i in range(4)]
    assert inputs(bot) == []
    assert await ledger(bot) == before
    rows = dump(bot)
    # Bob asked for the same words, and they are his: in his job, and in what it is found by.
    said = [line for line in rows.splitlines() if WORD in line]
    assert [line for line in said if "'chat:bob'" not in line and f" 2_{WORD}" not in line] == []
    assert said
    assert "user 1" not in rows
    page = await history_service.get_page(bot.ctx, bot.actor(), before=None, limit=9, pictured=False)
    assert page.entries == ()
    assert await losses(bot.ctx, bot.actor()) == replace(lost, jobs=0, pictures=0, favourites=0)


async def test_what_is_too_old_to_delete_is_emptied(make: Make) -> None:
    bot = await make()
    first, second, _ = await drawn(bot)
    bot.chats.old |= set(bot.chats.messages)
    await forget(bot.ctx, bot.actor())
    for job_id in (first, second):
        await gone(bot, job_id)
        assert bot.chats.pictures(job_id) == []
        for seen in bot.chats.shown(job_id):
            assert seen.card is not None
            assert (seen.card.prompt, seen.card.asker, seen.card.buttons) == ("", "", ())
            assert "deleted" in seen.card.status


async def test_buttons_of_a_forgotten_job_say_so(make: Make) -> None:
    bot = await make()
    first, _, _ = await drawn(bot)
    await forget(bot.ctx, bot.actor())
    ref = EventRef("chat:late", Address("chat", CHAT, user="2"))
    for user in ("1", "2"):
        for action in ("reroll", "seed", "vary", "upscale", "original", "prompt"):
            with pytest.raises(NotFound) as refused:
                await bot.press(bot.actor(user), HERE, ButtonPress(action, first, 0), ref)
            assert refused.value.key == "refusal.job.forgotten"


async def test_what_waits_and_what_is_drawn_is_stopped_and_refunded(make: Make) -> None:
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    running = await bot.ask(WORD, count="2")
    await bot.until(lambda: gate.reached)
    waiting = await bot.ask(f"another {WORD}", size="square", steps="5")
    await forget(bot.ctx, bot.actor())
    gate.open()
    for job in (running, waiting):
        assert (await bot.job(job.id)).state is JobState.CANCELLED
        assert await bot.ledger(job.id) == (2, 0, 0)
        await gone(bot, job.id)
        assert bot.chats.shown(job.id) == []
    await bot.quiet()
    assert bot.files() == []
    assert WORD not in dump(bot)


async def test_a_painted_job_that_is_forgotten_is_delivered_to_nobody(make: Make) -> None:
    bot = await make()
    for call in (Call.FINAL, Call.SEND):
        bot.surface.plan(call, *[Fault.BUSY] * 3)
    job = await bot.ask(WORD, count="4")
    await bot.reaches(job.id, JobState.PAINTED)
    await forget(bot.ctx, bot.actor())
    await bot.delivered(job.id)
    await gone(bot, job.id)
    assert (bot.chats.shown(job.id), bot.chats.pictures(job.id)) == ([], [])
    assert await bot.ledger(job.id) == (2, 0, 4)


async def test_killed_between_the_commit_and_the_files(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    bot = await make()
    first, second, third = await drawn(bot)
    hang = Hang()

    with monkeypatch.context() as patched:
        patched.setattr(data_files, "remove_pictures", hang)
        bot.surface.plan(Call.REMOVE, *[Fault.BUSY] * 9)
        forgetting = asyncio.create_task(forget(bot.ctx, bot.actor()))
        await hang.reached.wait()
        assert len(bot.files()) == 9, "the rows are gone, the files are not"
        await bot.kill()
        forgetting.cancel()
        await asyncio.gather(forgetting, return_exceptions=True)
    bot.surface.plan(Call.REMOVE)
    await bot.start()
    for job_id in (first, second):
        await gone(bot, job_id)
        assert (bot.chats.shown(job_id), bot.chats.pictures(job_id)) == ([], [])
    assert bot.files() == [f"{third}-{i}.png" for i in range(4)]
    assert inputs(bot) == []


@pytest.mark.parametrize("fault", [Fault.KILLED_BEFORE, Fault.KILLED_AFTER])
async def test_killed_while_messages_are_taken_away(make: Make, fault: Fault) -> None:
    bot = await make()
    first, second, _ = await drawn(bot)
    bot.surface.plan(Call.REMOVE, None, fault)
    await forget(bot.ctx, bot.actor())
    await bot.until(bot.surface.killed.is_set)
    await bot.restart()
    for job_id in (first, second):
        await gone(bot, job_id)
        assert (bot.chats.shown(job_id), bot.chats.pictures(job_id)) == ([], [])


async def test_a_first_answer_that_comes_later_is_taken_away_too(make: Make) -> None:
    """The adapter was still sending it when its job was forgotten."""
    bot = await make()
    job = await bot.ask(WORD, answered=True, event="chat:slow")
    await forget(bot.ctx, bot.actor())
    name = bot.chats.put(Seen(CHAT, None))
    address = Address("chat", CHAT, user="1", message=name)
    await delivery_service.bind_answer(bot.ctx, job.id, EventRef("chat:slow"), address)
    await gone(bot, job.id)
    assert name in bot.chats.deleted


@pytest.mark.parametrize("able", [ABLE, ABLE_SAFE])
async def test_what_is_being_sent_meanwhile_is_taken_away_once_it_is_there(
    make: Make, monkeypatch: pytest.MonkeyPatch, able: Abilities
) -> None:
    bot = await make(able)
    sent, answer, send = asyncio.Event(), asyncio.Event(), bot.surface.send

    async def slow(address: Address, card: Card, key: str) -> Address:
        address = await send(address, card, key)
        sent.set()
        await answer.wait()
        return address

    monkeypatch.setattr(bot.surface, "send", slow)
    job = await bot.ask(WORD)
    await bot.until(sent.is_set)
    await forget(bot.ctx, bot.actor())
    answer.set()
    await gone(bot, job.id)
    assert bot.chats.shown(job.id) == []


async def test_someone_who_never_drew_is_told_so(make: Make) -> None:
    bot = await make()
    for ask in (forget, losses):
        with pytest.raises(NotFound) as refused:
            await ask(bot.ctx, bot.actor("nobody"))
        assert refused.value.key == "refusal.forget.nothing"
