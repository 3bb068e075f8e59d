"""Several devices draw from one queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from bot.core.jobs import JobState
from bot.dispatch.claims import Claimed
from bot.dispatch.placement import SWAP_AFTER
from bot.dispatch.service import POSITIONS_EVERY
from engine.families.z_image.spec import demo
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.flow.conftest import Make
from tests.flow.harness import Bot


def devices(count: int, gate: StepGate) -> Mapping[str, FakeEngine]:
    return {f"cuda:{n}": FakeEngine(pause=gate) for n in range(count)}


def drawn(engines: Mapping[str, FakeEngine]) -> list[int]:
    """Return how many pictures each device has begun."""
    return [len(engine.painted) for engine in engines.values()]


async def test_jobs_use_all_idle_devices_and_one_that_comes_back(make: Make) -> None:
    gate = StepGate()
    engines = devices(4, gate)
    late = engines["cuda:3"]
    late._auto_warm = False
    bot = await make(devices=engines)
    jobs = [await bot.ask(user=str(n)) for n in range(4)]
    await bot.until(lambda: drawn(engines) == [1, 1, 1, 0])
    await late.recover()
    await bot.until(lambda: drawn(engines) == [1, 1, 1, 1])
    gate.open()
    for job in jobs:
        await bot.delivered(job.id)
        assert await bot.ledger(job.id) == (2, 0, 1)


async def test_jobs_of_a_lost_device_are_drawn_by_the_others_at_once(make: Make) -> None:
    gate = StepGate()
    engines = devices(2, gate)
    bot = await make(devices=engines)
    one, other = await bot.ask(user="1"), await bot.ask(user="2")
    await bot.until(lambda: drawn(engines) == [1, 1])
    lost = next(e for e in engines.values() if e.painted[0].id.startswith(f"{one.id}:"))
    kept = next(e for e in engines.values() if e is not lost)
    await lost.lose()
    await bot.reaches(one.id, JobState.QUEUED)
    assert (await bot.job(other.id)).state is JobState.RUNNING, "the other device goes on"
    gate.open()
    await bot.delivered(one.id)
    await bot.delivered(other.id)
    assert [recipe.id for recipe in kept.painted] == [f"{other.id}:0", f"{one.id}:0"]
    assert len(lost.painted) == 1
    assert (await bot.job(one.id)).attempts == 1
    assert await bot.ledger(one.id) == (2, 0, 1)


async def test_nothing_is_drawn_while_no_device_is_ready(make: Make) -> None:
    gate = StepGate()
    gate.open()
    engines = devices(2, gate)
    bot = await make(devices=engines)
    for engine in engines.values():
        await engine.lose()
    job = await bot.ask()
    await bot.quiet()
    assert (await bot.job(job.id)).state is JobState.QUEUED
    await engines["cuda:1"].recover()
    await bot.delivered(job.id)
    assert drawn(engines) == [0, 1]


async def test_the_pictures_of_one_job_are_shared_out_among_idle_devices(make: Make) -> None:
    gate = StepGate()
    engines = devices(4, gate)
    bot = await make(devices=engines)
    job = await bot.ask(count="4")
    await bot.until(lambda: drawn(engines) == [1, 1, 1, 1])
    gate.open()
    await bot.delivered(job.id)
    assert await bot.ledger(job.id) == (2, 0, 4)
    assert len(bot.chats.pictures(job.id)) == 4


async def test_a_job_goes_on_running_when_one_of_its_devices_is_lost(make: Make) -> None:
    gate = StepGate()
    engines = devices(2, gate)
    bot = await make(devices=engines)
    job = await bot.ask(count="4")
    await bot.until(lambda: drawn(engines) == [2, 2])
    gate.let(2)
    half = 1 / (await bot.job(job.id)).request.steps
    await bot.until(lambda: bot.dispatch.progress(job.id) == half)
    lost, kept = engines.values()
    await lost.lose()
    await bot.until(lambda: _attempts(bot, job.id, 1))
    assert (await bot.job(job.id)).state is JobState.RUNNING
    await bot.until(lambda: bot.dispatch.progress(job.id) == half / 2)  # the lost pictures begin again
    gate.open()
    await bot.delivered(job.id)
    assert len(kept.painted) == 4
    assert await bot.ledger(job.id) == (2, 0, 4)


async def test_a_job_whose_devices_are_all_lost_is_drawn_once(make: Make) -> None:
    gate = StepGate()
    engines = devices(2, gate)
    bot = await make(devices=engines)
    job = await bot.ask(count="4")
    await bot.until(lambda: drawn(engines) == [2, 2])
    for engine in engines.values():
        await engine.lose()
    await bot.until(lambda: _attempts(bot, job.id, 1))
    gate.open()
    await engines["cuda:1"].recover()
    await bot.delivered(job.id)
    assert drawn(engines) == [2, 6]
    assert await bot.ledger(job.id) == (2, 0, 4)
    progress = bot.dispatch._dispatcher._progress
    assert not any((*progress._on_slot.values(), progress._slots_of)), "no trace of it is left"


async def _attempts(bot: Bot, job_id: int, attempts: int) -> bool:
    return (await bot.job(job_id)).attempts == attempts


async def test_a_slow_device_takes_its_time_and_is_not_overtaken_by_others(make: Make) -> None:
    slow, fast = StepGate(), StepGate()
    engines = {"cuda:0": FakeEngine(pause=slow), "cuda:1": FakeEngine(pause=fast)}
    bot = await make(devices=engines)
    one, other = await bot.ask(user="1", steps="8"), await bot.ask(user="2", steps="8")
    await bot.until(lambda: drawn(engines) == [1, 1])
    first = int(engines["cuda:0"].painted[0].id.partition(":")[0])
    second = other.id if first == one.id else one.id
    slow.let(1)
    await bot.until(lambda: bot.dispatch.progress(first) == 1 / 8)
    for step in range(1, 5):
        bot.clock.advance(5.0)
        fast.let(1)
        await bot.until(lambda step=step: bot.dispatch.progress(second) == step / 8)  # type: ignore[misc]
    assert not bot.dispatch.live.is_preempted(first), "nobody passes it: the other one has a device of its own"
    for gate in (slow, fast):
        gate.open()
    for job in (one, other):
        await bot.delivered(job.id)


async def test_the_dispatcher_sleeps_while_no_slot_has_room(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = StepGate()
    engines = devices(3, gate)
    bot = await make(devices=engines)
    claims = bot.dispatch._dispatcher._claims
    tries = 0
    next_batches = claims.next_batches

    async def counted() -> list[Claimed] | None:
        nonlocal tries
        tries += 1
        return await next_batches()

    monkeypatch.setattr(claims, "next_batches", counted)
    jobs = [await bot.ask(user=str(n)) for n in range(8)]
    await bot.until(lambda: sum(drawn(engines)) == 3)
    await engines["cuda:2"].lose()
    await bot.quiet()
    before = tries
    await bot.quiet()
    assert tries == before
    gate.open()
    await engines["cuda:2"].recover()
    for job in jobs:
        await bot.delivered(job.id)
    assert tries < before + 60


@pytest.mark.parametrize("noticed", [False, True])
async def test_a_device_that_is_lost_while_it_is_given_a_job_does_not_keep_it(
    make: Make, monkeypatch: pytest.MonkeyPatch, noticed: bool
) -> None:
    gate = StepGate()
    gate.open()
    engines = devices(2, gate)
    bot = await make(devices=engines)
    claims = bot.dispatch._dispatcher._claims
    next_batches = claims.next_batches

    async def then_lost() -> list[Claimed] | None:
        batches = await next_batches()
        if batches and batches[0].slot == "cuda:0":
            await engines["cuda:0"].lose()
            await bot.until(lambda: not noticed or bot.dispatch._batcher.placement.gone() == ["cuda:0"])
        return batches

    monkeypatch.setattr(claims, "next_batches", then_lost)
    job = await bot.ask()
    await bot.delivered(job.id)
    assert drawn(engines) == [0, 1]
    assert (await bot.job(job.id)).attempts == 1


async def test_a_job_that_waits_for_its_model_for_long_is_drawn_by_another_device(make: Make) -> None:
    """Nothing happens meanwhile that would wake the dispatcher: the device with the model draws one long picture."""
    gate = StepGate()
    one, two = demo(), replace(demo(), name="two")
    engines = {"cuda:0": FakeEngine([one, two], gate), "cuda:1": FakeEngine([two, one], gate)}
    bot = await make(devices=engines)
    jobs = [await bot.ask(user="1", steps="8")]
    await bot.until(lambda: drawn(engines) == [1, 0])
    jobs.append(await bot.ask(user="2", steps="8"))
    await bot.quiet()
    assert drawn(engines) == [1, 0]
    bot.clock.advance(SWAP_AFTER + 1)
    bot.clock.advance(POSITIONS_EVERY)
    await bot.until(lambda: drawn(engines) == [1, 1])
    gate.open()
    for job in jobs:
        await bot.delivered(job.id)
