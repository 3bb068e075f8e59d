"""Cancelling while a job waits and while it is drawn."""

from __future__ import annotations

import asyncio

from bot.core.cards import Tone
from bot.core.jobs import JobState
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.flow.conftest import Make


async def test_a_waiting_job_is_never_drawn(make: Make) -> None:
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    first = await bot.ask(size="192x192")
    await bot.reaches(first.id, JobState.RUNNING)
    # Another size, so that it can't share the batch.
    second = await bot.ask(user="2", size="256x144")
    assert await bot.cancel(second.id, user="2")
    gate.open()
    await bot.delivered(first.id)
    await bot.quiet()
    assert (await bot.job(second.id)).state is JobState.CANCELLED
    assert {r.id for r in bot.engine.painted} == {f"{first.id}:0"}
    assert await bot.ledger(second.id) == (2, 0, 0)
    (seen,) = bot.chats.shown(second.id)
    assert seen.card is not None
    assert seen.card.tone is Tone.STOPPED


async def test_a_running_job_leaves_the_engine_and_its_batch_mate_goes_on(make: Make) -> None:
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    blocker = await bot.ask(size="256x144")
    await bot.reaches(blocker.id, JobState.RUNNING)
    mine = await bot.ask("mine", count="2")
    theirs = await bot.ask("theirs", user="2")
    gate.let(blocker.request.steps)
    await bot.delivered(blocker.id)
    await bot.reaches(mine.id, JobState.RUNNING)
    assert (await bot.job(theirs.id)).state is JobState.RUNNING, "they share a batch"
    assert await bot.cancel(mine.id)
    # Within this very step: the gate is still shut.
    (paint,) = bot.engine._paints
    await bot.until(lambda: [r.prompt for r in paint.open.values()] == ["theirs"])
    gate.open()
    await bot.delivered(theirs.id)
    await bot.quiet()
    assert (await bot.job(mine.id)).state is JobState.CANCELLED
    assert await bot.ledger(mine.id) == (2, 0, 0)
    assert await bot.ledger(theirs.id) == (2, 0, 1)
    assert bot.chats.pictures(mine.id) == []
    assert bot.files() == [f"{blocker.id}-0.png", f"{theirs.id}-0.png"]
    assert not bot.dispatch._dispatcher._active
    assert bot.dispatch.progress(mine.id) is None


async def test_of_many_cancels_one_wins(make: Make) -> None:
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    job = await bot.ask(count="2")
    await bot.reaches(job.id, JobState.RUNNING)
    won = await asyncio.gather(*(bot.cancel(job.id) for _ in range(5)))
    gate.open()
    await bot.quiet()
    assert won.count(True) == 1
    assert await bot.ledger(job.id) == (2, 0, 0)


async def test_a_painted_job_can_not_be_cancelled(make: Make) -> None:
    bot = await make()
    job = await bot.ask()
    await bot.delivered(job.id)
    assert not await bot.cancel(job.id)
    assert await bot.ledger(job.id) == (2, 0, 1)


async def test_cancelled_between_claim_and_first_step(make: Make) -> None:
    """The engine may hear of the drop before it has heard of the recipe; the job must not be drawn to its end."""
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    job = await bot.ask(count="4")
    for _ in range(200):
        if (await bot.job(job.id)).state is JobState.RUNNING:
            break
    assert await bot.cancel(job.id)
    gate.open()
    await bot.quiet()
    await bot.until(lambda: not bot.dispatch._dispatcher._active)
    assert bot.chats.pictures(job.id) == []
    assert bot.files() == []
