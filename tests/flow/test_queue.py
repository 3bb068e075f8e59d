"""The whole queue: held, full, and told of what another process has written."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import sys

import pytest
from prometheus_client import CollectorRegistry

from bot.cards.i18n import text
from bot.core.errors import NotFound, Unavailable
from bot.core.jobs import JobState
from bot.core.people import Actor
from bot.dispatch.dispatcher import STUCK_SECONDS
from bot.dispatch.service import Dispatch
from bot.observability.metrics import Metrics
from bot.owner import queue as owner_queue
from bot.owner.queue import QueueEnd
from bot.storage import group_commit, people
from bot.storage.database import Database
from engine.contract import Lane
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.fakes.surface import FakeSurface
from tests.flow.conftest import Make
from tests.flow.harness import Bot, Hang


async def elsewhere(bot: Bot, statement: str) -> None:
    """Another process writes to the same file, as the command line does beside the running service."""
    program = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], 30); db.execute(sys.argv[2]); db.commit()"
    command = (sys.executable, "-c", program, str(bot.folder / "easel.db"), statement)
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 0


async def written(bot: Bot, statement: str) -> None:
    """The same by another connection, which is as foreign and quicker.

    In a thread: the service may be in the middle of a transaction, which it can't end while its loop is blocked.
    """

    def write() -> None:
        with contextlib.closing(sqlite3.connect(bot.folder / "easel.db", 30)) as db, db:
            db.execute(statement)

    await asyncio.to_thread(write)


async def pause(bot: Bot, state: str | None) -> None:
    async with bot.db.write() as tx:
        await people.put_option(tx, people.SERVICE, "state", state)


async def test_a_full_queue_says_so_at_once_and_keeps_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    bot = await make(engine=FakeEngine(auto_warm=False))
    monkeypatch.setattr(bot.dispatch, "_limit", 2)
    waiting = [await bot.ask(user=str(n)) for n in range(2)]
    with pytest.raises(Unavailable) as refusal:
        await bot.ask(user="3", event="again")
    assert refusal.value.key == "unavailable.queue_full"
    assert float(refusal.value.params["wait"]) > 0
    async with bot.db.read() as tx:
        assert list(map(tuple, await tx.execute_fetchall("SELECT count(*) FROM jobs"))) == [(2,)]
    await bot.cancel(waiting[0].id, user="0")
    job = await bot.ask(user="3", event="again")
    await bot.engine.recover()
    await bot.delivered(job.id)


async def test_of_many_at_one_moment_no_more_than_may_wait_come_in(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their rows may be written before the first of them is in the queue."""
    bot = await make(engine=FakeEngine(auto_warm=False))
    monkeypatch.setattr(bot.dispatch, "_limit", 3)
    monkeypatch.setattr(group_commit, "MAX_OPEN_SECONDS", 3600.0)
    results = await asyncio.gather(*(bot.ask(user=str(n)) for n in range(12)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, Unavailable)]
    assert len(refused) == 9
    assert {refusal.key for refusal in refused} == {"unavailable.queue_full"}
    async with bot.db.read() as tx:
        assert list(map(tuple, await tx.execute_fetchall("SELECT count(*) FROM jobs"))) == [(3,)]
    await bot.engine.recover()
    for result in results:
        if not isinstance(result, BaseException):
            await bot.delivered(result.id)


async def test_a_restart_may_find_more_than_may_wait(make: Make) -> None:
    bot = await make(engine=FakeEngine(auto_warm=False))
    jobs = [await bot.ask(user=str(n)) for n in range(3)]
    await bot.kill()
    bot.db = await Database.open(bot.folder / "easel.db")
    metrics = Metrics(CollectorRegistry())
    bot.dispatch = Dispatch(bot.db, bot.pictures, bot.engine, clock=bot.clock, metrics=metrics, limit=1)
    await bot.dispatch.start()
    assert [bot.dispatch.position(job.id) is not None for job in jobs] == [True] * 3
    assert bot.dispatch.retry_after() is not None


async def test_nothing_is_begun_while_the_service_is_paused(make: Make) -> None:
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    first = await bot.ask(user="1", size="192x192")
    await bot.reaches(first.id, JobState.RUNNING)
    bot.dispatch.set_paused(True)
    second = await bot.ask(user="2", size="256x144")
    gate.open()
    await bot.delivered(first.id)
    assert (await bot.job(second.id)).state is JobState.QUEUED
    waiting = bot.dispatch.position(second.id)
    assert waiting is not None
    assert waiting.eta is None
    bot.dispatch.set_paused(False)
    await bot.delivered(second.id)


async def test_a_pause_outlives_a_restart_and_is_ended_by_another_process(make: Make) -> None:
    bot = await make()
    await pause(bot, "pause")
    await bot.restart()
    job = await bot.ask()
    assert bot.dispatch._batcher.paused
    assert (await bot.job(job.id)).state is JobState.QUEUED
    await elsewhere(bot, "DELETE FROM options WHERE place_id = 0 AND name = 'state'")
    await bot.delivered(job.id)


async def test_what_another_process_queued_or_cancelled_is_taken_up(make: Make) -> None:
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    drawn = await bot.ask(user="1", size="192x192")
    await bot.reaches(drawn.id, JobState.RUNNING)
    waits = await bot.ask(user="2", size="256x144")
    held = await bot.ask(user="3", size="144x256")
    await bot.cancel(held.id, user="3")
    assert bot.dispatch.position(held.id) is None
    await written(bot, f"UPDATE jobs SET state = 'queued' WHERE id = {held.id}")
    await bot.until(lambda: bot.dispatch.position(held.id) is not None)
    await written(bot, f"UPDATE jobs SET state = 'cancelled' WHERE id IN ({drawn.id}, {waits.id})")
    await bot.until(lambda: waits.id not in bot.dispatch._queue)
    await bot.until(lambda: bot.dispatch._dispatcher._active[drawn.id].cancelled)
    gate.open()
    await bot.delivered(held.id)
    assert {(await bot.job(job.id)).state for job in (drawn, waits)} == {JobState.CANCELLED}


async def test_delivery_looks_after_foreign_writes_and_no_others(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    bot = await make()
    told: list[bool] = []

    async def tell() -> None:
        told.append(True)

    monkeypatch.setattr(bot.dispatch._delivery, "scan", tell)
    await bot.delivered((await bot.ask()).id)
    for _ in range(20):
        bot.clock.advance(1.0)
        await asyncio.sleep(0.002)
    assert told == []
    await written(bot, "INSERT INTO options (place_id, name, value) VALUES (7, 'words', '\"off\"')")
    await bot.until(lambda: told)


async def test_a_check_that_failed_is_repeated(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    bot = await make()
    tries: list[int] = []

    async def fail_once() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise Unavailable("unavailable.database.locked")

    monkeypatch.setattr(bot.dispatch._delivery, "scan", fail_once)
    await written(bot, "INSERT INTO options (place_id, name, value) VALUES (7, 'words', '\"off\"')")
    await bot.until(lambda: len(tries) == 2)


async def test_large_requests_are_handed_over_as_bulk(make: Make) -> None:
    class Watched(FakeEngine):
        def paint(self, recipes, lane=Lane.INTERACTIVE, slot=""):  # type: ignore[no-untyped-def]
            lanes.append((lane, {recipe.id.partition(":")[0] for recipe in recipes}))
            return super().paint(recipes, lane)

    lanes: list[tuple[Lane, set[str]]] = []
    bot = await make(engine=Watched(auto_warm=False))
    bot.surfaces["web"] = bot.surface
    large = await bot.ask(user="1", platform="web", count="6", shown=False)
    small = await bot.ask(user="2", count="1")
    await bot.engine.recover()
    await bot.reaches(large.id, JobState.PAINTED, JobState.DELIVERED)
    await bot.delivered(small.id)
    assert lanes[0] == (Lane.INTERACTIVE, {str(small.id)})
    assert lanes[1] == (Lane.BULK, {str(large.id)})


async def test_a_job_that_others_pass_while_it_is_drawn_says_so_and_goes_on(make: Make) -> None:
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    page = FakeSurface()
    await bot.dispatch.attach("web", page)

    def status() -> str:
        seen = page.chats.shown(large.id)
        return seen[-1].card.status if seen and seen[-1].card else ""

    large = await bot.ask(user="1", platform="web", chat="page", count="16", steps="8", size="192x192")
    await bot.reaches(large.id, JobState.RUNNING)
    small = await bot.ask(user="2", count="1", steps="8")
    gate.let(8)  # the first half of the large one
    await bot.reaches(small.id, JobState.RUNNING)

    async def step(number: int) -> None:
        bot.clock.advance(5.0)
        gate.let(1)
        await bot.until(lambda: bot.dispatch.progress(small.id) == number / 8)

    await step(1)
    assert not bot.dispatch.live.is_preempted(large.id), "one step of another's is no pause yet"
    await step(2)
    await step(3)
    await bot.until(lambda: status() == text("en", "card.running.preempted", percent=50))
    gate.open()
    await bot.delivered(large.id)
    await bot.delivered(small.id)
    assert not bot.dispatch.live.is_preempted(large.id)


async def test_predicted_waits_are_measured(make: Make) -> None:
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    gate.open()
    await bot.delivered((await bot.ask(user="1")).id)
    bot.dispatch.set_paused(True)
    job = await bot.ask(user="2")
    assert bot.dispatch.position(job.id) is not None
    bot.dispatch.set_paused(False)
    bot.dispatch.position(job.id)
    await bot.delivered(job.id)

    def said() -> float:
        samples = (s for family in bot.registry.collect() for s in family.samples)
        return sum(s.value for s in samples if s.name == "easel_eta_predictions_total")

    assert said() == 1
    assert bot.dispatch._dispatcher._calibration._open == {}


async def test_moves_of_an_owner_survive_a_kill(make: Make) -> None:
    engine = FakeEngine(auto_warm=False)
    bot = await make(engine=engine)
    ids = [(await bot.ask(user=str(n))).id for n in range(4)]
    owner = Actor("web", "local", is_owner=True)
    await owner_queue.move(bot.ctx, owner, ids[0], QueueEnd.BACK)
    await owner_queue.move(bot.ctx, owner, ids[2], QueueEnd.FRONT)
    await owner_queue.move(bot.ctx, owner, ids[3], QueueEnd.FRONT)
    moved = [ids[3], ids[2], ids[1], ids[0]]
    assert bot.dispatch.order() == moved
    await bot.restart()
    assert bot.dispatch.order() == moved
    await engine.recover()
    for job_id in ids:
        await bot.delivered(job_id)
    assert [int(recipe.id.partition(":")[0]) for recipe in engine.painted] == moved
    with pytest.raises(NotFound):
        await owner_queue.move(bot.ctx, owner, ids[0], QueueEnd.FRONT)
    later = (await bot.ask(user="9")).id
    await bot.delivered(later)


async def test_people_who_wait_are_told_of_a_pause_also_by_another_process(make: Make) -> None:
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    await bot.ask(user="1")
    waiting = await bot.ask(user="2")
    await bot.until(lambda: gate.reached)
    await bot.until(lambda: bot.chats.shown(waiting.id))
    await written(bot, "INSERT INTO options (place_id, name, value) VALUES (0, 'state', '\"pause\"')")
    said = text("en", "card.queued.paused", position=1)
    await bot.until(lambda: [seen.card.status for seen in bot.chats.shown(waiting.id) if seen.card] == [said])
    await written(bot, "DELETE FROM options WHERE name = 'state'")
    await bot.until(lambda: [seen.card.status for seen in bot.chats.shown(waiting.id) if seen.card] != [said])
    gate.open()
    await bot.delivered(waiting.id)


async def test_a_dispatcher_that_does_nothing_about_waiting_jobs_is_not_alive(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = await make()
    hang = Hang()

    def long_after() -> bool:
        """Whether it counts as alive, asked before and after a long time, as a watchdog asks."""
        bot.dispatch.is_alive()
        bot.clock.advance(STUCK_SECONDS + 1)
        return bot.dispatch.is_alive()

    assert long_after(), "nothing waits"
    monkeypatch.setattr(bot.dispatch._dispatcher._claims, "next_batches", hang)
    job = await bot.ask()
    await hang.reached.wait()
    bot.dispatch.set_paused(True)
    assert long_after(), "a paused service begins nothing"
    bot.dispatch.set_paused(False)
    await bot.engine.lose()
    assert long_after(), "the engine is lost"
    await bot.engine.recover()
    assert bot.dispatch.is_alive()
    assert not long_after()
    monkeypatch.undo()
    await bot.restart()
    await bot.delivered(job.id)
    assert long_after()
