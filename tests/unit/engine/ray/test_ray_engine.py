from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine.contract import EngineConfig, EngineError, EngineLost, Event, Image, Phase, Recipe, UnknownModel
from engine.ray.driver_process import ClusterConfig, DriverTimeouts
from engine.ray.ray_engine import TIMEOUTS, RayEngine

A = Recipe("a", "demo", "a cat", "", 64, 64, 2, 0.0, 7)
QUICK = replace(TIMEOUTS, first_pause=0.01, longest_pause=0.02, silence=0.5, steps=0.0, closing=2.0)
DRIVER = DriverTimeouts(joining=30.0, silence=30.0, closing=1.0)
RUNNING = ClusterConfig("far:6379", "/etc/token", gpus=2)
"""The stand-in takes the GPUs of a cluster from here."""


@contextlib.asynccontextmanager
async def driver(what: str, **more: object) -> AsyncIterator[RayEngine]:
    command = (sys.executable, "-m", "tests.fakes.ray_driver", what)
    options = {"timeouts": QUICK, "driver_timeouts": DRIVER, "command": command, **more}
    engine = RayEngine(EngineConfig("demo", "nowhere"), RUNNING, **options)  # type: ignore[arg-type]
    await engine.start()
    try:
        async with asyncio.timeout(60):
            yield engine
    finally:
        await engine.aclose()
        assert engine.driver_pid is None
        assert set(engine.pids) == {None}


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - an engine tells its state to whoever asks
        await asyncio.sleep(0.01)


async def all_of(engine: RayEngine, slot: str = "") -> list[Event]:
    async with contextlib.aclosing(engine.paint([A], slot=slot)) as events:
        return [event async for event in events]


async def test_it_has_a_slot_for_each_gpu() -> None:
    async with driver("draws") as engine:
        changed = asyncio.create_task(engine.slots_changed())
        assert [slot.id for slot in engine.slots()] == ["ray:0"]
        await changed
        await until(lambda: len(engine.slots()) == 2 and all(slot.ready for slot in engine.slots()))
        assert [slot.id for slot in engine.slots()] == ["ray:0", "ray:1"]
        for slot in engine.slots():
            assert isinstance((await all_of(engine, slot.id))[-1], Image)
        assert len(set(engine.pids)) == 2


async def test_a_lost_actor_is_replaced_and_rests_in_the_end() -> None:
    async with driver("loses", timeouts=replace(QUICK, losses=3)) as engine:
        await until(lambda: len(engine.slots()) == 2 and all(slot.ready for slot in engine.slots()))
        for _ in range(3):
            with pytest.raises(EngineLost, match="fell over"):
                await all_of(engine, "ray:0")
        first, second = engine.slots()
        assert "rests for 10 min" in first.state.problem
        assert second.ready


@pytest.mark.parametrize("what", ["quits", "hangs"])
async def test_a_lost_driver_is_a_loss_of_all_slots_and_starts_again(what: str) -> None:
    timeouts = replace(DRIVER, silence=1.0) if what == "hangs" else DRIVER
    async with driver(what, driver_timeouts=timeouts) as engine:
        await until(lambda: len(engine.slots()) == 2 and all(slot.ready for slot in engine.slots()))
        pid = engine.driver_pid
        with pytest.raises(EngineLost):
            await all_of(engine, "ray:1")
        await until(lambda: engine.driver_pid not in (None, pid) and all(slot.ready for slot in engine.slots()))
        assert all(slot.state.restarts for slot in engine.slots())


async def test_a_cluster_that_cannot_be_joined_now_is_tried_again() -> None:
    async with driver("refuses") as engine:
        await until(lambda: engine.state().restarts >= 3)
        assert engine.state().phase is not Phase.BROKEN
        await until(lambda: "of cheese" in engine.state().problem)


async def test_one_that_can_never_be_joined_is_broken() -> None:
    async with driver("differs") as engine:
        with pytest.raises(EngineError, match="of cheese"):
            await engine.warm()
        assert engine.state().phase is Phase.BROKEN
        assert engine.state().restarts == 0


async def test_a_full_cluster_is_no_loss() -> None:
    async with driver("full", timeouts=replace(QUICK, losses=2)) as engine:
        await until(lambda: engine.state().restarts >= 4)
        await until(lambda: "has a free GPU" in engine.state().problem)
        assert "rests" not in engine.state().problem


async def test_nonsense_ends_an_actor() -> None:
    async with driver("raves") as engine:
        await until(lambda: "not a message" in engine.state().problem)


def test_models_are_drawn_where_the_table_says(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text(
        '[own]\nsource = "owner/far"\nlike = "sdxl"\n[placement.own]\n[placement."*"]\ncount = 2\n', encoding="utf-8"
    )
    engine = RayEngine(EngineConfig("demo", str(tmp_path), models_file=str(file)), ClusterConfig())
    assert [(slot.id, set(slot.models)) for slot in engine.slots()] == [
        ("ray:0", {"own"}),
        ("ray:1", set()),
        ("ray:2", set()),
    ]
    assert [slot.state.model for slot in engine.slots()] == ["own", "demo", "demo"]
    assert [profile.name for profile in engine.profiles()] == ["demo", "own"]
    file.write_text("[placement.own]\n", encoding="utf-8")
    with pytest.raises(UnknownModel, match="no model 'own'"):
        RayEngine(EngineConfig("demo", str(tmp_path), models_file=str(file)), ClusterConfig())
