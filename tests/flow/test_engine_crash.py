"""The engine dies while it draws."""

from __future__ import annotations

from bot.core.cards import Tone
from bot.core.jobs import MAX_ATTEMPTS, JobState
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.flow.conftest import Make


async def test_a_job_of_a_lost_batch_waits_and_is_drawn_again(make: Make) -> None:
    gate = StepGate()
    engine = FakeEngine(pause=gate)
    bot = await make(engine=engine)
    job = await bot.ask(count="2")
    await bot.until(lambda: gate.reached)
    await engine.lose()
    again = await bot.reaches(job.id, JobState.QUEUED)
    assert again.attempts == 1
    assert bot.dispatch.position(job.id) is not None
    assert bot.dispatch.progress(job.id) is None
    gate.open()
    await engine.recover()
    done = await bot.delivered(job.id)
    assert done.attempts == 1
    assert await bot.ledger(job.id) == (2, 0, 2)
    assert len(bot.chats.pictures(job.id)) == 2


async def test_lost_too_often_is_failed_and_refunded(make: Make) -> None:
    gate = StepGate()
    engine = FakeEngine(pause=gate)
    bot = await make(engine=engine)
    reached = gate.further()
    job = await bot.ask(count="3")
    for attempt in range(1, MAX_ATTEMPTS + 2):
        await bot.until(reached)
        reached = gate.further()
        await engine.lose()
        await bot.reaches(job.id, JobState.QUEUED if attempt <= MAX_ATTEMPTS else JobState.FAILED)
        await engine.recover()
    failed = await bot.job(job.id)
    assert failed.error == "error.engine.lost"
    assert await bot.ledger(job.id) == (2, 0, 0)
    await bot.quiet()
    (seen,) = bot.chats.shown(job.id)
    assert seen.card is not None
    assert seen.card.tone is Tone.PROBLEM


async def test_pictures_that_came_before_the_loss_are_not_drawn_again(make: Make) -> None:
    gate = StepGate()
    engine = FakeEngine(pause=gate)
    bot = await make(engine=engine)
    job = await bot.ask(count="16", platform="web", shown=False)
    runs = bot.dispatch._dispatcher._active
    gate.let(job.request.steps)
    # The first batch has come and is stored, the second one is under way.
    await bot.until(lambda: gate.reached > job.request.steps and job.id in runs and not runs[job.id].writing)
    came = set(runs[job.id].done)
    await engine.lose()
    await bot.reaches(job.id, JobState.QUEUED)
    drawn = len(engine.painted)
    gate.open()
    await engine.recover()
    await bot.delivered(job.id)
    later = {int(r.id.partition(":")[2]) for r in engine.painted[drawn:]}
    assert came
    assert later == set(range(16)) - came
    assert await bot.ledger(job.id) == (2, 0, 16)


async def test_jobs_of_a_lost_batch_are_tried_one_by_one(make: Make) -> None:
    """A poisonous prompt kills the engine each time; the others of its first batch are drawn all the same."""
    batches: list[set[str]] = []
    gate = StepGate()

    async def pause() -> None:
        await gate()
        (paint,) = engine._paints
        prompts = {recipe.prompt for recipe in paint.open.values()}
        if not batches or batches[-1] != prompts:
            batches.append(prompts)
        if "poison" in prompts:
            await engine.lose()
            await engine.recover()

    engine = FakeEngine(pause=pause)
    bot = await make(engine=engine)
    blocker = await bot.ask("blocker", size="256x144")
    await bot.reaches(blocker.id, JobState.RUNNING)
    good = await bot.ask("good", user="2")
    poison = await bot.ask("poison", user="3")
    also = await bot.ask("also good", user="4")
    gate.open()
    await bot.delivered(good.id)
    await bot.delivered(also.id)
    await bot.reaches(poison.id, JobState.FAILED)
    assert batches[1] == {"good", "poison", "also good"}, "they shared a batch at first"
    assert all(len(batch) == 1 for batch in batches[2:])
    assert await bot.ledger(good.id) == (2, 0, 1)
    assert await bot.ledger(poison.id) == (2, 0, 0)
    assert (await bot.job(good.id)).attempts == 1


async def test_nothing_is_drawn_before_the_engine_is_warm(make: Make) -> None:
    engine = FakeEngine(auto_warm=False)
    bot = await make(engine=engine)
    job = await bot.ask()
    await bot.quiet()
    assert (await bot.job(job.id)).state is JobState.QUEUED
    await engine.recover()
    await bot.delivered(job.id)
