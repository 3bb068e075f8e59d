"""What an engine of several slots promises besides: each slot draws, is lost and comes back by itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from engine.contract import Engine, EngineConfig, EngineLost, Event, Image, Phase, Preview, Recipe, Slot, Step
from engine.host.devices import config_of_each
from engine.host.process_engine import Models, ProcessEngine
from engine.host.supervision import Timeouts
from engine.multi_engine import MultiEngine
from tests.contract.test_engine import comfies, fakes, picture, recipe, slow

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(300)]


@dataclass
class Rig:
    """An engine of two slots, and how to make the device of one die.

    Attributes:
        engine: The engine.
        kill: Makes a slot's device die.
        back: Lets it come back, where it does not by itself.
        processes: Ids of the processes that draw.
    """

    engine: Engine
    kill: Callable[[str], Awaitable[None]]
    back: Callable[[str], Awaitable[None]]
    processes: Callable[[], list[int]] = list

    def slot(self, name: str) -> Slot:
        """Return a slot as it is now."""
        return next(slot for slot in self.engine.slots() if slot.id == name)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition of slots, by ``slots_changed`` alone."""
        async with asyncio.timeout(120):
            while not condition():
                await self.engine.slots_changed()

    async def all_ready(self) -> None:
        await self.until(lambda: all(slot.ready for slot in self.engine.slots()))


@contextlib.asynccontextmanager
async def two_fakes(_: Path) -> AsyncIterator[Rig]:
    async with fakes(2) as (rig, made):
        by_slot = dict(zip((slot.id for slot in rig.engine.slots()), made, strict=True))
        yield Rig(rig.engine, lambda slot: by_slot[slot].lose(), lambda slot: by_slot[slot].recover())


@contextlib.asynccontextmanager
async def two_processes(folder: Path) -> AsyncIterator[Rig]:
    configs = config_of_each(EngineConfig("demo", str(folder)), ("cpu", "cpu"))
    models, pauses = Models.read(configs[0]), Timeouts(first_pause=0.01)
    engines = {config.slot: ProcessEngine(config, pauses, models=models) for config in configs}
    engine = MultiEngine(engines)

    async def kill(slot: str) -> None:
        pid = engines[slot].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    async def back(_: str) -> None:
        """It comes back by itself."""

    await engine.start()
    yield Rig(engine, kill, back, lambda: [one.pid for one in engines.values() if one.pid is not None])
    await engine.aclose()


@contextlib.asynccontextmanager
async def two_comfies(_: Path) -> AsyncIterator[Rig]:
    async with comfies(2) as (made, servers):
        engine = MultiEngine({f"comfy:{number}": one for number, one in enumerate(made)})
        by_slot = dict(zip((slot.id for slot in engine.slots()), servers, strict=True))
        yield Rig(engine, lambda slot: by_slot[slot].stop(), lambda slot: by_slot[slot].start())


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=[two_fakes, two_processes, two_comfies])
async def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Rig]:
    async with request.param(tmp_path_factory.mktemp("models")) as made:
        async with asyncio.timeout(120):
            await made.engine.warm()
        await made.all_ready()
        yield made


@pytest.fixture
def names(rig: Rig) -> tuple[str, str]:
    first, second = (slot.id for slot in rig.engine.slots())
    return first, second


async def drawn(engine: Engine, wanted: Recipe, slot: str) -> list[Event]:
    async with contextlib.aclosing(engine.paint([wanted], slot=slot)) as events:
        return [event async for event in events]


async def test_each_slot_says_what_it_is(rig: Rig, names: tuple[str, str]) -> None:
    assert len(set(names)) == 2
    for slot in rig.engine.slots():
        assert (slot.state.phase, slot.state.model, slot.can_draw("demo")) == (Phase.WARM, "demo", True)
        assert slot.state.device
        assert rig.engine.batch(recipe("a"), slot.id) >= 1
    assert [slot.id for slot in rig.engine.slots()] == list(names)


async def test_both_draw_at_the_same_time_and_the_same(rig: Rig, names: tuple[str, str]) -> None:
    first, second = names
    async with (
        contextlib.aclosing(rig.engine.paint([slow("a")], slot=first)) as one,
        contextlib.aclosing(rig.engine.paint([slow("b")], slot=second)) as other,
    ):
        # Each has begun before the other ends.
        assert await anext(one) == Step("a", 1, 50)
        assert await anext(other) == Step("b", 1, 50)
        assert isinstance(await anext(one), Step)
    ends = [(await drawn(rig.engine, recipe(name), name))[-1] for name in names]
    assert isinstance(ends[0], Image)
    assert isinstance(ends[1], Image)
    assert ends[0].data == ends[1].data


async def test_without_a_slot_each_call_goes_where_nothing_is_drawn(rig: Rig) -> None:
    async with (
        contextlib.aclosing(rig.engine.paint([slow("a")])) as one,
        contextlib.aclosing(rig.engine.paint([slow("b")])) as other,
    ):
        assert [await anext(one), await anext(other), await anext(one)] == [
            Step("a", 1, 50),
            Step("b", 1, 50),
            Step("a", 2, 50),
        ]


async def test_a_slot_that_is_not_there_is_lost(rig: Rig) -> None:
    with pytest.raises(EngineLost, match="nowhere"):
        await drawn(rig.engine, recipe("a"), "nowhere")
    assert rig.engine.batch(recipe("a"), "nowhere") >= 1


async def test_drop_and_preview_find_their_slot(rig: Rig, names: tuple[str, str]) -> None:
    there, here = names
    async with (
        contextlib.aclosing(rig.engine.paint([slow("kept")], slot=there)) as kept,
        contextlib.aclosing(rig.engine.paint([slow("dropped")], slot=here)) as dropped,
    ):
        await anext(kept)
        await anext(dropped)
        await rig.engine.set_preview("dropped", enabled=True)
        async for event in dropped:
            assert event.recipe_id == "dropped"
            if isinstance(event, Preview):
                await rig.engine.drop("dropped")
        assert isinstance(await anext(kept), Step)


async def test_a_dead_device_ends_its_own_calls_and_the_other_draws_on(rig: Rig, names: tuple[str, str]) -> None:
    first, second = names
    pids, restarts = rig.processes(), rig.engine.state().restarts
    async with (
        contextlib.aclosing(rig.engine.paint([slow("a")], slot=first)) as one,
        contextlib.aclosing(rig.engine.paint([recipe("b", steps=30)], slot=second)) as other,
    ):
        await anext(one)
        await anext(other)
        await rig.kill(first)
        with pytest.raises(EngineLost):
            async for _ in one:
                pass
        await rig.until(lambda: rig.slot(first).state.phase is not Phase.WARM)
        assert not rig.slot(first).ready
        assert rig.slot(first).state.resident == ()
        assert rig.slot(second).state.phase is Phase.WARM
        assert rig.engine.state().phase is Phase.WARM
        assert isinstance([event async for event in other][-1], Image)
        # What names no slot goes to the one that is there.
        await picture(rig.engine, recipe("c"))
    await rig.back(first)
    await rig.until(lambda: rig.slot(first).ready)
    assert isinstance((await drawn(rig.engine, recipe("a"), first))[-1], Image)
    assert rig.engine.state().restarts == restarts + 1
    assert rig.processes()[1:] == pids[1:], "the other process goes on"
    assert rig.processes()[:1] != pids[:1] or not pids


async def test_closed_it_ends_every_process_within_5_s(rig: Rig, names: tuple[str, str]) -> None:
    """It is the last test: the engine of this module is closed."""
    pids = rig.processes()
    calls = [asyncio.create_task(drawn(rig.engine, slow(name), name)) for name in names]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await rig.engine.aclose()
    assert [type(end) for end in await asyncio.gather(*calls, return_exceptions=True)] == [EngineLost, EngineLost]
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert [slot.state.phase for slot in rig.engine.slots()] == [Phase.LOST, Phase.LOST]
    with pytest.raises(EngineLost):
        await rig.engine.warm()
