"""Nothing is kept of a job once it has ended, however it ended."""

from __future__ import annotations

import gc
import logging
import tracemalloc

import pytest

from bot.core.jobs import JobState
from engine.contract import BadRecipe, EngineError, Recipe
from tests.fakes.engine import FakeEngine
from tests.fakes.surface import Call, Fault
from tests.flow.conftest import Make
from tests.flow.harness import Bot

ENDS = {JobState.DELIVERED, JobState.CANCELLED, JobState.FAILED}


def fail(recipe: Recipe) -> EngineError | None:
    return BadRecipe("planted") if "bad" in recipe.prompt else None


async def crowd(bot: Bot, first: int) -> None:
    """Twenty people in five chats ask: some prompts are bad, some jobs are cancelled, some messages vanish."""
    jobs = []
    for n in range(first, first + 20):
        prompt = "bad" if n % 7 == 0 else f"picture {n}"
        chat, count = str(n % 5), str(1 + n % 3)
        jobs.append(await bot.ask(prompt, user=str(n), chat=chat, count=count, private=n % 11 == 0))
        if n % 5 == 0:
            await bot.cancel(jobs[-1].id, user=str(n), chat=chat)
    bot.surface.plan(Call.FINAL, Fault.GONE, Fault.BUG, None, Fault.BUSY)
    bot.surface.plan(Call.SEND, None, Fault.UNCLEAR_LOST, Fault.GONE)
    bot.surface.plan(Call.PROGRESS, Fault.GONE, Fault.BUG)

    async def ended() -> bool:
        return all([(await bot.job(job.id)).state in ENDS for job in jobs])

    await bot.until(ended)
    await bot.quiet()
    # What the fakes remember is not the bot's.
    bot.chats.messages.clear()
    bot.surface.calls.clear()
    bot.surface.met.clear()
    bot.engine.painted.clear()


async def test_no_table_keeps_what_has_ended(make: Make) -> None:
    bot = await make(engine=FakeEngine(fail=fail))
    for first in (1, 21, 41):
        await crowd(bot, first)
    dispatch = bot.dispatch
    await bot.until(lambda: not dispatch._dispatcher._tasks)
    sync, live, scheduler = dispatch._sync, dispatch.live, dispatch._queue._scheduler
    kept = (
        dispatch._dispatcher._active,
        dispatch._delivery._senders,
        dispatch._delivery._changed_jobs,
        dispatch._dispatcher._calibration._open,
        dispatch._batcher.placement.loads["0"].in_flight,
        dispatch._batcher.placement._left,
        scheduler._by_job,
        scheduler._by_person,
        scheduler._pictures,
        scheduler._by_age,
        scheduler._by_batch,
        scheduler._by_model,
        scheduler._passes,
        *(table for lane in scheduler._lanes.values() for table in (lane._queues, lane._people, lane._places._tags)),
        live._done,
        live._count,
        live._viewers,
        sync._last_shown,
        sync._unreachable,
        sync._tries,
    )
    assert [len(table) for table in kept] == [0] * len(kept)


@pytest.mark.soak
async def test_memory_over_a_thousand_jobs(make: Make) -> None:
    bot = await make(engine=FakeEngine(fail=fail))
    sizes = []
    # pytest keeps every log line, and with it the frames of planted exceptions.
    logging.disable()
    tracemalloc.start()
    try:
        for crowds in range(50):
            await crowd(bot, 1 + 20 * crowds)
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
        logging.disable(logging.NOTSET)
    print([size >> 10 for size in sizes])  # noqa: T201 - what `make soak` is for
    assert sizes[-1] < sizes[9] * 1.03
