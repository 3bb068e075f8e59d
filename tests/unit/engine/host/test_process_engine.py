from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from engine.contract import (
    EngineConfig,
    EngineError,
    EngineLost,
    Event,
    Failed,
    Image,
    Phase,
    Preview,
    Recipe,
    Step,
    UnknownModel,
)
from engine.host import wire
from engine.host.child_process import ChildProcess, child_environment
from engine.host.process_engine import ProcessEngine
from engine.host.supervision import Timeouts

QUICK = Timeouts(first_pause=0.01, longest_pause=0.02, closing=2.0)
A = Recipe("a", "demo", "a cat", "", 64, 64, 2, 0.0, 7)


@contextlib.asynccontextmanager
async def child(
    what: str, timeouts: Timeouts = QUICK, config: EngineConfig | None = None
) -> AsyncIterator[ProcessEngine]:
    command = (sys.executable, "-m", "tests.fakes.engine_child", what)
    engine = ProcessEngine(config or EngineConfig("demo", "nowhere"), timeouts, command)
    await engine.start()
    try:
        async with asyncio.timeout(60):
            yield engine
    finally:
        await engine.aclose()


async def all_of(engine: ProcessEngine, *recipes: Recipe) -> list[Event]:
    async with contextlib.aclosing(engine.paint(recipes)) as events:
        return [e async for e in events]


async def test_what_libraries_warn_of_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with child("prints") as engine:
        await engine.warm()
        await all_of(engine, A)
    said = {r.message: r.levelname for r in caplog.records if r.message.startswith("device process: ")}
    assert said["device process: WARNING:peft: a LoRA is odd"] == "WARNING"
    assert said["device process: progress 50 %"] == "DEBUG"


A_CAT = Image(
    "a",
    b"a cat",
    width=64,
    height=64,
    seconds=0.01,
    precision="fp4",
    revision="c0ffee",
    notes=("n",),
    device="abacus",
    setup="a setup",
)


async def test_what_the_child_says_is_told() -> None:
    async with child("draws") as engine:
        events = await all_of(engine, A, replace(A, id="b", prompt="猫"))
        assert events == [
            *(Step(name, n, 2) for n in (1, 2) for name in "ab"),
            replace(A_CAT, recipe_id="a", data=b"a cat"),
            replace(A_CAT, recipe_id="b", data="猫".encode()),
        ]
        state = engine.state()
        assert (state.plan, state.revision) == ("in the head", "c0ffee")
        assert (state.busy_seconds, state.warm_seconds, state.prompts_encoded) == (0.1, 0.2, 1)
        assert (state.phase, state.device, state.precision) == (Phase.WARM, "abacus", "fp4")
        assert (state.bytes_done, state.bytes_total, state.memory) == (5, 10, 123)


async def test_two_paints_of_the_same_name_are_two() -> None:
    async with child("draws") as engine:
        one, two = await asyncio.gather(all_of(engine, A), all_of(engine, replace(A, prompt="a dog")))
    assert isinstance(one[-1], Image)
    assert isinstance(two[-1], Image)
    assert (one[-1].data, two[-1].data) == (b"a cat", b"a dog")


async def test_starting_twice_is_starting_once() -> None:
    others = psutil.Process().children()  # such as the browser of other tests
    async with child("draws") as engine:
        await engine.start()
        await engine.warm()
        assert len(psutil.Process().children()) == len(others) + 1


async def test_chatter_of_libraries_is_no_conversation() -> None:
    async with child("prints") as engine:
        assert isinstance((await all_of(engine, A))[-1], Image)


async def test_a_hang_is_a_death() -> None:
    async with child("stalls", replace(QUICK, silence=0.2, steps=0.0)) as engine:
        await engine.warm()
        first = engine.pid
        with pytest.raises(EngineLost, match="silent"):
            await all_of(engine, A)
        await engine.warm()
        assert engine.pid != first
        assert engine.state().restarts == 1


async def test_a_stopped_child_is_killed() -> None:
    async with child("draws", replace(QUICK, silence=0.5, steps=0.0)) as engine:
        await engine.warm()
        first = engine.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        with pytest.raises(EngineLost, match="silent"):
            await all_of(engine, A)
        await engine.warm()
        assert not psutil.pid_exists(first)


async def test_its_own_steps_stretch_the_limit() -> None:
    # Half a minute for each of its steps of ten milliseconds: the reader gives up long before the engine does.
    async with child("stalls", replace(QUICK, silence=0.0, steps=3000.0)) as engine:
        await engine.warm()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await all_of(engine, A)
        assert engine.state().restarts == 0


async def test_silence_without_work_is_no_hang() -> None:
    async with child("draws", replace(QUICK, silence=0.3, steps=0.0)) as engine:
        await all_of(engine, A)
        pid = engine.pid
        # Longer than its limit, by the only clock that there is.
        await asyncio.sleep(0.6)
        assert (engine.pid, engine.state().restarts) == (pid, 0)


async def test_a_child_that_stops_while_it_loads_is_a_hang_too() -> None:
    class Silent:
        command = (sys.executable, "-c", "import time; time.sleep(3600)")

    engine = ProcessEngine(EngineConfig("demo", "nowhere"), replace(QUICK, loading=0.1, starts=2), Silent.command)
    await engine.start()
    try:
        with pytest.raises(EngineError, match="silent"):
            await engine.warm()
    finally:
        await engine.aclose()


async def test_each_death_is_told_and_followed_by_a_start() -> None:
    async with child("dies") as engine:
        for n in range(4):
            await engine.warm()
            assert engine.state().restarts == n
            with pytest.raises(EngineLost, match="exit status 9"):
                await all_of(engine, A)
            assert engine.state().phase is not Phase.BROKEN


async def test_one_that_is_lost_again_and_again_rests() -> None:
    restless = replace(QUICK, losses=3, rest=60)
    async with child("dies", restless) as engine:
        for _ in range(3):
            with pytest.raises(EngineLost):
                await all_of(engine, A)
        assert engine.state().phase is Phase.LOST
        assert "lost 3 times within 10 min, and rests for 1 min" in engine.state().problem
        assert engine.state().restarts == 2


async def test_the_process_may_be_started_in_another_way() -> None:
    started = []

    async def connect() -> ChildProcess[wire.Message]:
        environment = child_environment({}, offline=True)
        command = (sys.executable, "-m", "tests.fakes.engine_child", "draws")
        started.append(await ChildProcess.start(command, environment, wire.CODEC, name="other", closing=2.0))
        return started[-1]

    engine = ProcessEngine(EngineConfig("demo", "nowhere"), QUICK, connect=connect)
    await engine.start()
    assert isinstance((await all_of(engine, A))[-1], Image)
    assert engine.pid == started[0].pid
    await engine.aclose()
    assert len(started) == 1


async def test_a_model_that_fitted_before_is_tried_again_when_memory_is_short() -> None:
    started: list[str] = []

    async def connect() -> ChildProcess[wire.Message]:
        started.append(["dies", "bursts", "bursts", "draws"][len(started)])
        command = (sys.executable, "-m", "tests.fakes.engine_child", started[-1])
        return await ChildProcess.start(
            command, child_environment({}, offline=True), wire.CODEC, name="device", closing=2.0
        )

    engine = ProcessEngine(EngineConfig("demo", "nowhere"), QUICK, connect=connect)
    await engine.start()
    try:
        async with asyncio.timeout(60):
            with pytest.raises(EngineLost):
                await all_of(engine, A)
            await engine.warm()
    finally:
        await engine.aclose()
    assert started == ["dies", "bursts", "bursts", "draws"]


async def test_a_model_that_never_fitted_is_broken() -> None:
    async with child("bursts") as engine:
        with pytest.raises(EngineError, match="is full"):
            await engine.warm()
        assert (engine.state().phase, engine.state().restarts) == (Phase.BROKEN, 0)


async def test_a_child_that_never_gets_warm_is_broken_in_the_end() -> None:
    async with child("quits") as engine:
        with pytest.raises(EngineError, match=r"can't be loaded.*exit status 3"):
            await engine.warm()
        assert engine.state().phase is Phase.BROKEN
        assert engine.state().restarts == QUICK.starts - 1
        (end,) = await all_of(engine, A)
        assert isinstance(end, Failed)


async def test_a_model_that_cannot_be_loaded_breaks_at_once() -> None:
    async with child("refuses") as engine:
        (end,) = await all_of(engine, A)
        assert isinstance(end, Failed)
        assert isinstance(end.error, UnknownModel)
        with pytest.raises(UnknownModel, match="cheese"):
            await engine.warm()
        state = engine.state()
        assert (state.phase, state.problem, state.restarts) == (Phase.BROKEN, "The model is of cheese.", 0)
        await engine.drop("a")


async def test_nonsense_ends_a_child() -> None:
    async with child("raves") as engine:
        with pytest.raises(EngineError, match="not a message"):
            await engine.warm()


async def test_no_such_program() -> None:
    engine = ProcessEngine(EngineConfig("demo", "nowhere"), QUICK, ("/no/such/program",))
    await engine.start()
    with pytest.raises(EngineError, match="can't be started"):
        await engine.warm()
    await engine.aclose()


async def test_closing_does_not_wait_for_one_that_lingers() -> None:
    async with child("lingers", replace(QUICK, closing=0.1)) as engine:
        await engine.warm()
        pid = engine.pid
        assert pid is not None
        async with asyncio.timeout(5):
            await engine.aclose()
        assert not psutil.pid_exists(pid)


async def test_closed_before_it_has_begun() -> None:
    async with child("draws") as engine:
        await engine.aclose()
        assert engine.pid is None
        await engine.start()
        assert engine.pid is None


async def test_the_child_gets_the_hubs_settings_and_none_of_easels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EASEL_DISCORD_TOKEN", "very secret")
    config = EngineConfig("demo", "nowhere", environment={"HF_TOKEN": "for the hub"})
    async with child("echoes", QUICK, config) as engine:
        with pytest.raises(UnknownModel) as caught:
            await engine.warm()
    seen = json.loads(str(caught.value))
    assert seen["HF_TOKEN"] == "for the hub"
    assert not [name for name in seen if name.startswith("EASEL_")]
    assert "for the hub" not in repr(config)


async def test_dropped_it_is_silent_even_about_what_had_been_said_already() -> None:
    async with child("draws") as engine, contextlib.aclosing(engine.paint([A, replace(A, id="b")])) as events:
        assert await anext(events) == Step("a", 1, 2)
        # The child answers in order: once it has drawn another one, all that it says about these two has come.
        await all_of(engine, replace(A, id="c"))
        await engine.drop("a")
        rest = [e async for e in events]
    assert {e.recipe_id for e in rest} == {"b"}
    assert isinstance(rest[-1], Image)


async def test_previews_come_to_those_who_look() -> None:
    async with child("peeks") as engine, contextlib.aclosing(engine.paint([A])) as events:
        assert await anext(events) == Step("a", 1, 2)
        await engine.set_preview("nobody", enabled=True)
        await engine.set_preview("a", enabled=True)
        rest = [e async for e in events]
    assert Preview("a", b"rough", "image/jpeg") in rest
    assert isinstance(rest[-1], Image)


async def test_work_without_steps_is_no_silence() -> None:
    async with child("enlarges") as engine:
        assert isinstance((await all_of(engine, A))[-1], Image)


def test_an_upscaler_that_is_no_file_of_weights_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "up.pth").touch()
    with pytest.raises(UnknownModel, match=r"EASEL_UPSCALER: .*up\.pth is no \.safetensors file"):
        ProcessEngine(EngineConfig("demo", "nowhere", upscaler=str(tmp_path / "up.pth")))


async def test_idle_it_is_ready_to_draw() -> None:
    async with child("idles") as engine:
        await engine.warm()
        assert isinstance((await all_of(engine, A))[-1], Image)
        assert engine.state().phase is Phase.IDLE


async def test_a_model_lost_to_another_ones_failed_load_is_said_and_the_next_request_is_drawn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    async with child("empties") as engine:
        while engine.state().phase is not Phase.IDLE:  # noqa: ASYNC110  # the engine tells its state to whom asks
            await asyncio.sleep(0.01)
        await engine.warm()
        assert "could not be loaded again" in engine.state().problem
        assert isinstance((await all_of(engine, A))[-1], Image)
        assert (engine.state().phase, engine.state().problem, engine.state().restarts) == (Phase.WARM, "", 0)
    said = [r.message for r in caplog.records]
    assert "xl can't be loaded: it is of cheese; demo stays loaded." in said
    assert "xl can't be loaded: it bursts; demo could not be loaded again either." in said
