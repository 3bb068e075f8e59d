"""Studio: cards of jobs, histories, live watching, messages, health."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from bot.commands.model import Invocation
from bot.core.cards import ButtonPress, Card, Tone
from bot.core.connections import ConnectionState, PlatformConnection
from bot.core.errors import NotFound, Refusal, Unavailable
from bot.core.jobs import JobState
from bot.core.messages import Address, EventRef, MessageKind, MessageState
from bot.core.requests import DrawForm
from bot.history.listing import JOBS
from bot.observability.metrics import Metrics
from bot.storage import jobs, messages
from bot.storage.sql import load_card
from bot.studio import Studio
from engine.contract import Phase, UnknownModel
from engine.families.z_image.spec import demo
from tests.unit.bot.conftest import ADA, BOB, HERE, OWNER, PAGE, World, ref


async def test_draw_shows_a_card_that_waits(studio: Studio) -> None:
    shown = await studio.draw(ADA, HERE, DrawForm("an apple"), ref())
    card = shown.card
    assert (card.tone, card.prompt, card.asker, card.job_id) == (Tone.WAITING, "an apple", "Ada", shown.job_id)
    assert [b.press for row in card.buttons for b in row] == [ButtonPress("cancel", shown.job_id)]
    assert not card.final


async def test_the_same_event_shows_the_job_as_it_is_now(world: World, studio: Studio) -> None:
    first = await studio.draw(ADA, HERE, DrawForm("an apple"), ref())
    await world.paint(first.job_id)
    again = await studio.draw(ADA, HERE, DrawForm("an apple"), ref())
    assert again.job_id == first.job_id
    assert again.card.final
    assert len(again.card.pictures) == 1


async def test_a_card_a_picture_and_items_are_ones_own(world: World, studio: Studio) -> None:
    shown = await studio.draw(ADA, HERE, DrawForm("an apple"), ref())
    await world.paint(shown.job_id)
    assert (await studio.card(ADA, shown.job_id)).tone is Tone.DONE
    file = await studio.picture(ADA, shown.job_id, 0)
    assert file.path.is_file()
    for missing in (studio.card(BOB, shown.job_id), studio.picture(BOB, shown.job_id, 0), studio.card(ADA, 99)):
        with pytest.raises(NotFound):
            await missing
    with pytest.raises(NotFound):
        await studio.picture(ADA, shown.job_id, 1)
    assert [card.job_id for card in await studio.items(ADA)] == [shown.job_id]
    assert await studio.items(BOB) == ()
    file.path.unlink()
    with pytest.raises(NotFound):
        await studio.picture(ADA, shown.job_id, 0)


async def test_items_go_back_from_a_job(world: World, studio: Studio) -> None:
    ids = [(await studio.draw(OWNER, PAGE, DrawForm("an apple"), EventRef(f"e{i}"))).job_id for i in range(5)]
    assert [card.job_id for card in await studio.items(OWNER, limit=2)] == [ids[4], ids[3]]
    assert [card.job_id for card in await studio.items(OWNER, before=ids[3], limit=9)] == [ids[2], ids[1], ids[0]]


async def test_history_turns_its_pages(world: World, studio: Studio) -> None:
    empty = await studio.history(OWNER, PAGE)
    assert (empty.pictures, empty.buttons, empty.private) == ((), (), True)
    ids = []
    for i in range(JOBS + 3):
        ids.append((await studio.draw(OWNER, PAGE, DrawForm(f"apple {i}"), EventRef(f"e{i}"))).job_id)
        if i != 4:  # one that never came to anything is left out
            await world.paint(ids[-1])
    drawn = [job_id for i, job_id in enumerate(ids) if i != 4][::-1]
    first = await studio.history(OWNER, PAGE)
    assert len(first.facts) == JOBS
    assert "apple 11" in first.facts[0].value
    assert first.pictures[0].path.is_file()
    older = [b.press for b in first.buttons[-1]]
    assert older == [ButtonPress("page", drawn[JOBS - 1])]
    second = (await studio.press(OWNER, PAGE, older[0], EventRef("page"))).card
    assert second is not None
    assert len(second.facts) == 2
    back = [b.press for b in second.buttons[-1]]
    assert back == [ButtonPress("page", 0)]
    assert (await studio.press(OWNER, PAGE, back[0], EventRef("page"))).card == first


async def test_nobody_turns_somebody_else_s_history(world: World, studio: Studio) -> None:
    shown = await studio.draw(ADA, HERE, DrawForm("an apple"), ref())
    with pytest.raises(NotFound):
        await studio.press(BOB, HERE, ButtonPress("page", shown.job_id), ref("p"))


async def test_watching_shows_now_then_each_change_then_ends(world: World, studio: Studio) -> None:
    shown = await studio.draw(ADA, HERE, DrawForm("an apple"), ref())
    seen: list[Card] = []
    waiting = asyncio.Event()

    async def watch() -> None:
        async for card in studio.watch(ADA, shown.job_id):
            seen.append(card)
            waiting.set()

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(watch())
        await waiting.wait()
        world.live.wake(shown.job_id)  # nothing is different: nothing is shown
        waiting.clear()
        async with world.ctx.db.write() as tx:
            await jobs.claim(tx, [shown.job_id], now=1.0)
        for _ in range(20):
            world.live.wake(shown.job_id)
        await waiting.wait()
        await world.paint_running(shown.job_id)
    assert [card.tone for card in seen] == [Tone.WAITING, Tone.RUNNING, Tone.DONE]


async def test_one_can_not_watch_what_is_not_ones_own(studio: Studio) -> None:
    shown = await studio.draw(ADA, HERE, DrawForm("an apple"), ref())
    with pytest.raises(NotFound):
        async for _ in studio.watch(BOB, shown.job_id):
            pass


@pytest.mark.parametrize("works", [True, False])
async def test_the_first_answer_of_an_adapter(world: World, studio: Studio, works: bool) -> None:
    it = ref(answered=True)
    assert it.address is not None
    shown = await studio.draw(ADA, HERE, DrawForm("an apple"), it)
    if works:
        await studio.bind_answer(shown.job_id, it, replace(it.address, message="77"))
    else:
        await studio.unbind_answer(shown.job_id, it)
    async with world.ctx.db.read() as tx:
        (row,) = await messages.of_job(tx, shown.job_id)
    assert row.state is (MessageState.SHOWN if works else MessageState.WANTED)
    assert row.address.message == ("77" if works else None)
    assert shown.job_id in world.backlog.changes


async def test_a_notice_is_posted_once(world: World, studio: Studio) -> None:
    card = studio.help("zh_CN")
    for _ in range(2):
        await studio.post_notice(ref("help"), card)
    async with world.ctx.db.read() as tx:
        (row,) = await messages.wanted(tx)
    assert (row.kind, row.address, load_card(row.card)) == (MessageKind.NOTICE, Address("chat", "channel"), card)
    assert world.backlog.posts == 2
    with pytest.raises(ValueError, match="nowhere"):
        await studio.post_notice(EventRef("nowhere"), card)


async def test_quota_cards_in_both_languages(studio: Studio) -> None:
    for locale in ("en", "zh_CN"):
        card = await studio.quota_show(replace(ADA, locale=locale), HERE)
        assert "5" in card.status


async def test_health_names_what_is_wrong(world: World, studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await studio.problems() == ()
    await world.engine._become(Phase.IDLE, "")
    assert await studio.problems() == (), "an idle engine loads by itself when it is asked"
    await world.engine.lose("The device's process ended.")
    assert await studio.problems() == ("The device's process ended.",)
    await world.engine.recover()
    await world.engine.break_down(UnknownModel("There is no such folder."))
    assert await studio.problems() == ("There is no such folder.",)
    await world.engine.recover()
    async with world.ctx.db.write() as tx:
        await tx.execute_fetchall("PRAGMA user_version")

    def locked() -> object:
        raise Unavailable("unavailable.database.locked")

    monkeypatch.setattr(world.ctx.db, "write", locked)
    assert await studio.problems() == (studio.text("unavailable.database.locked", "en"),)


async def test_health_commits_a_write(
    world: World, studio: Studio, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = world.db

    async def problems() -> list[str]:
        return [problem.partition(" {")[0] for problem in await studio.problems()]

    def said(key: str) -> list[str]:
        return [studio.text(key, "en", path=str(db.path))]

    await db._writer.execute_fetchall("PRAGMA query_only = ON")
    for _ in range(24):
        assert await problems() == said("unavailable.database.unwritable")
    await db._writer.execute_fetchall("PRAGMA query_only = OFF")
    assert await problems() == []
    assert [r.levelname for r in caplog.records if r.name == "bot.storage.database"] == ["ERROR", "WARNING"]
    aside = db.path.with_name("aside.db")
    db.path.rename(aside)
    assert await problems() == said("unavailable.database.moved")
    aside.rename(db.path)
    db.found_damaged("page 7 is wrong")
    assert await problems() == said("unavailable.database.damaged")
    db.found_damaged("")
    assert await problems() == []


async def test_health_names_the_platforms_that_serve_nobody(studio: Studio) -> None:
    studio.connection_problem("discord", "Discord refused the token.")
    studio.connection_problem("telegram", "Telegram can't be reached.")
    studio.connection_problem("discord", "Discord can't be reached.")
    assert await studio.problems() == ("Discord can't be reached.", "Telegram can't be reached.")
    studio.connection_problem("discord", None)
    studio.connection_problem("discord", None)
    assert await studio.problems() == ("Telegram can't be reached.",)


async def test_commands_presses_and_messages_are_counted_by_name_alone(world: World) -> None:
    registry = CollectorRegistry()
    world.studio._metrics = Metrics(registry)
    job = (await world.studio.draw(ADA, HERE, DrawForm("a secret apple"), ref())).job_id
    await world.studio.press(ADA, HERE, ButtonPress("cancel", job), ref())
    with pytest.raises(Refusal):
        await world.studio.press(ADA, HERE, ButtonPress("cancel", 999), ref())
    show = world.studio.commands.by_name["quota show"]
    await world.studio.command(Invocation(ADA, HERE, show, ref()))
    found = {
        (sample.labels["command"], sample.labels["outcome"]): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "easel_commands_total"
    }
    assert found == {("draw", "ok"): 1, ("cancel", "ok"): 1, ("cancel", "refused"): 1, ("quota show", "ok"): 1}
    assert b"secret" not in generate_latest(registry)


async def test_connections_say_since_when(world: World, studio: Studio) -> None:
    studio.connection_problem("discord", None)
    began = world.clock.now()
    world.clock.advance(60)
    studio.connection_problem("discord", None)
    assert studio.connections["discord"] == PlatformConnection(ConnectionState.CONNECTED, began)
    studio.connection_problem("discord", "It can't be reached.")
    lost = world.clock.now()
    world.clock.advance(60)
    studio.connection_problem("discord", "It can't be reached (again).")
    away = PlatformConnection(ConnectionState.RECONNECTING, lost, "It can't be reached (again).")
    assert studio.connections["discord"] == away
    studio.connection_problem("discord", "It refused the token.", refused=True)
    assert studio.connections["discord"].state is ConnectionState.REFUSED
    assert studio.connections["discord"].since == lost + 60


def test_help_and_refusals_speak_both_languages(studio: Studio) -> None:
    for locale in ("en", "zh_CN"):
        assert studio.help(locale).notes
        assert studio.text("card.cancelled", locale)
    assert studio.help("en") != studio.help("zh_CN")


async def test_help_names_no_model_for_some_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    known = (demo(), replace(demo(), name="kept", who=("admins",)), replace(demo(), name="big"))
    monkeypatch.setattr(world.engine, "profiles", lambda: known)
    (line,) = [note for note in world.studio.help("en").notes if "--model" in note]
    assert line.endswith("one of demo, big")


async def test_the_profiles_are_the_engine_s(world: World, studio: Studio) -> None:
    assert studio.profiles() == world.engine.profiles()
    assert studio.engine() == world.engine.state()
    shown = await studio.draw(ADA, HERE, DrawForm("an apple"), ref())
    assert (await world.job(shown.job_id)).state is JobState.QUEUED
