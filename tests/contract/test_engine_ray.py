"""What only the engine on a Ray cluster must do: use every GPU, outlive actors and driver, leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from adapters.cli import ray_settings
from adapters.cli.environment import AppSettings
from adapters.cli.wiring import opened
from bot.core.messages import EventRef
from bot.core.people import Actor, Place
from bot.core.requests import DrawForm
from bot.settings import EngineKind, Settings
from engine.contract import EngineConfig, EngineError, EngineLost, Event, Image, Lane, Phase, Recipe, Slot, Step
from engine.ray.driver_process import ClusterConfig
from engine.ray.placement import SlotPlan
from engine.ray.ray_engine import TIMEOUTS, RayEngine
from engine.ray.wire import ActorRequirements
from tests.fakes import ray_cluster as clusters
from tests.fakes.ray_cluster import FAKE_WORKER, Cluster
from tests.fakes.ray_worker import RECORD

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(200)]

PATIENT = replace(TIMEOUTS, losses=0)
"""Tests kill more often than within ten minutes."""

DISCORD_TOKEN = "not-for-actors"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of models, where actors write their records."""
    return tmp_path_factory.mktemp("models")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared(ray_cluster: Cluster, models: Path) -> AsyncIterator[RayEngine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EASEL_DISCORD_TOKEN", DISCORD_TOKEN)
        config = EngineConfig("demo", str(models))
        engine = RayEngine(config, ray_cluster.config, timeouts=PATIENT, worker=FAKE_WORKER)
        await engine.start()
        yield engine
        await engine.aclose()
        await until(lambda: not left(ray_cluster))


@pytest_asyncio.fixture(loop_scope="module")
async def engine(shared: RayEngine) -> RayEngine:
    """The engine with both of its slots ready."""
    await until(lambda: len(shared.slots()) == 2 and all(slot.ready for slot in shared.slots()))
    return shared


def left(cluster: Cluster) -> list[str]:
    """Return the names of the cluster's actors."""
    names = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if in_session(process.pid, cluster.session) and process.status() != psutil.STATUS_ZOMBIE:
                names.append(process.name())
    return [name for name in names if name.startswith("ray::Painter")]


def in_session(pid: int, session: int) -> bool:
    try:
        return os.getsid(pid) == session
    except ProcessLookupError:
        return False


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - an engine tells its state to whoever asks
            await asyncio.sleep(0.01)


def recipe(name: str, side: int = 64, steps: int = 2, **more: str) -> Recipe:
    return Recipe(name, "demo", "a red apple", "", side, side, steps, 0.0, 7, **more)  # type: ignore[arg-type]


def slow(name: str) -> Recipe:
    """Return a recipe that takes 50 steps of 50 ms."""
    return recipe(name, 512, 50)


async def all_of(engine: RayEngine, *recipes: Recipe, slot: str = "") -> list[Event]:
    async with contextlib.aclosing(engine.paint(recipes, slot=slot)) as events:
        return [event async for event in events]


class Watched(RayEngine):
    """Notes the recipes of each paint, the pictures that came, and what the paint raised."""

    def __init__(self, config: EngineConfig, cluster: ClusterConfig) -> None:
        plan = SlotPlan(requirements=ActorRequirements(num_gpus=2.0))
        timeouts = replace(PATIENT, silence=2.0, steps=0.0)
        super().__init__(config, cluster, [plan], timeouts=timeouts, worker=FAKE_WORKER)
        self.paints: list[list[str]] = []
        self.pictures: list[str] = []
        self.losses: list[str] = []

    async def paint(
        self, recipes: Sequence[Recipe], lane: Lane = Lane.INTERACTIVE, slot: str = ""
    ) -> AsyncGenerator[Event]:
        self.paints.append([one.id for one in recipes])
        try:
            async with contextlib.aclosing(super().paint(recipes, lane, slot)) as events:
                async for event in events:
                    if isinstance(event, Image):
                        self.pictures.append(event.recipe_id)
                    yield event
        except EngineLost as lost:
            self.losses.append(str(lost))
            raise


def query(data: Path, sql: str) -> list[tuple[Any, ...]]:
    """Read the service's database as it is now."""
    with contextlib.closing(sqlite3.connect(f"{(data / 'easel.db').as_uri()}?mode=ro", uri=True, timeout=10)) as db:
        return db.execute(sql).fetchall()


_DRAWING = """
import asyncio
import sys
from engine.contract import EngineConfig, Recipe
from engine.ray.driver_process import ClusterConfig
from engine.ray.ray_engine import RayEngine
from tests.fakes.ray_cluster import FAKE_WORKER

async def main():
    engine = RayEngine(EngineConfig("demo", sys.argv[1]), ClusterConfig(gpus=1), worker=FAKE_WORKER)
    await engine.start()
    await engine.warm()
    while True:
        async for _ in engine.paint([Recipe("a", "demo", "a cat", "", 512, 512, 50, 0.0, 7)]):
            print(engine.driver_pid, flush=True)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def drawing(models: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that draws on a cluster of its own, over and over. It starts while the first tests wait."""
    clusters.require()
    process = subprocess.Popen([sys.executable, "-c", _DRAWING, str(models)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.usefixtures("drawing")
async def test_the_service_has_drawn_again_what_killed_and_stopped_actors_owe(
    ray_cluster: Cluster, tmp_path: Path
) -> None:
    """The actor has all GPUs of the cluster, so this comes before the tests that share an engine."""
    made: list[Watched] = []

    def make(config: EngineConfig) -> Watched:
        made.append(Watched(config, ray_cluster.config))
        return made[0]

    settings = Settings(_env_file=None, data_dir=tmp_path, model="demo")
    async with opened(AppSettings(settings), make) as easel, asyncio.timeout(100):
        (engine,) = made
        await engine.warm()

        async def ask(number: int) -> None:
            form = DrawForm("a red apple", count="4", steps="8", size="384x384")
            me, page = Actor("web", "1", is_owner=True), Place("web", None, "page")
            shown = await easel.studio.draw(me, page, form, EventRef(str(number)))
            assert shown.job_id == number

        # The actor is killed.
        (killed,) = engine.pids
        await ask(1)
        await until(lambda: bool(engine.pictures))
        os.kill(killed or 0, signal.SIGKILL)
        await until(lambda: bool(engine.losses))
        first = list(engine.pictures)
        await until(lambda: query(tmp_path, "SELECT state FROM jobs") == [("delivered",)])
        assert 0 < len(first) < 4, "pictures that came are kept"
        whole, rest = engine.paints
        assert rest == [one for one in whole if one not in first]
        assert sorted(engine.pictures) == sorted(whole)
        assert "silent" not in engine.losses[0], "Ray has told of it"

        # The actor is stopped: it is gone before another one has its GPUs.
        (stopped,) = engine.pids
        assert stopped not in {killed, None}
        await ask(2)
        await until(lambda: len(engine.paints) == 3)
        os.kill(stopped or 0, signal.SIGSTOP)
        await until(lambda: len(engine.losses) == 2)
        await until(lambda: engine.pids not in {(stopped,), (None,)})
        assert not alive(stopped or 0)
        await until(lambda: query(tmp_path, "SELECT state FROM jobs") == [("delivered",)] * 2)
        assert "silent" in engine.losses[1]

        # Each has one attempt more than its first one, and is charged once: one row reserves, one settles.
        assert query(tmp_path, "SELECT id, attempts FROM jobs") == [(1, 1), (2, 1)]
        charges = "SELECT job_id, count(*), sum(reserved), sum(charged) FROM ledger GROUP BY job_id"
        assert query(tmp_path, charges) == [(1, 2, 0, 4), (2, 2, 0, 4)]
        assert query(tmp_path, "SELECT job_id, count(DISTINCT path) FROM pictures GROUP BY job_id") == [(1, 4), (2, 4)]


async def test_each_gpu_of_the_cluster_is_a_slot(engine: RayEngine) -> None:
    assert [slot.id for slot in engine.slots()] == ["ray:0", "ray:1"]
    assert engine.state().phase is Phase.WARM
    assert len(set(engine.pids) - {None}) == 2
    ends = await asyncio.gather(*(all_of(engine, recipe(slot.id), slot=slot.id) for slot in engine.slots()))
    assert all(isinstance(events[-1], Image) for events in ends)


async def test_steps_are_thinned_out_and_the_first_and_last_one_come(engine: RayEngine) -> None:
    events = await all_of(engine, recipe("a", 256, 60))
    steps = [event.step for event in events if isinstance(event, Step)]
    assert (steps[0], steps[-1]) == (1, 60)
    assert steps == sorted(set(steps))
    assert len(steps) < 30
    assert isinstance(events[-1], Image)


async def test_actors_know_no_secret(engine: RayEngine) -> None:
    for pid in (*engine.pids, engine.driver_pid):
        environment = environment_of(pid or 0)
        assert b"RAY_AUTH_MODE=token" in environment
        assert DISCORD_TOKEN.encode() not in environment
        assert b"EASEL_DISCORD" not in environment


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def record_of(models: Path, pid: int | None) -> list[tuple[str, int]]:
    """Return what an actor has done, in order, and for which ticket."""
    file = models / RECORD.format(pid=pid)
    lines = file.read_text(encoding="ascii").splitlines() if file.exists() else []
    return [(what, int(ticket)) for what, ticket in (line.split() for line in lines)]


def done_for(record: list[tuple[str, int]], ticket: int) -> list[str]:
    return [what for what, of in record if of == ticket]


@pytest.mark.parametrize("items", [1, 2, 3])
async def test_a_paint_that_is_left_takes_no_step_after_the_one_in_progress(
    engine: RayEngine, models: Path, items: int
) -> None:
    pid = engine.pids[1]
    async with contextlib.aclosing(engine.paint([slow("left")], slot="ray:1")) as events:
        for _ in range(items):
            assert isinstance(await anext(events), Step)
        ticket = max(of for _, of in record_of(models, pid))
    # The next one begins when the device has stopped.
    assert isinstance((await all_of(engine, recipe("next"), slot="ray:1"))[-1], Image)
    await until(lambda: "end" in done_for(record_of(models, pid), ticket))
    did = done_for(record_of(models, pid), ticket)
    assert did[-1] == "end"
    assert did.count("late") <= 1
    assert items <= did.count("step") < 49
    assert "picture" not in did


async def test_300_paints_that_are_left_free_their_slots(engine: RayEngine, models: Path) -> None:
    chance = random.Random(7)

    async def leave() -> None:
        async def read() -> None:
            async with contextlib.aclosing(engine.paint([recipe("a", 128, 20)])) as events:
                async for _ in events:
                    pass

        task = asyncio.create_task(read())
        await asyncio.sleep(chance.random() * 0.02)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    pids = engine.pids
    for _ in range(30):
        await asyncio.gather(*(leave() for _ in range(10)))
    for slot in engine.slots():
        assert isinstance((await all_of(engine, recipe("next"), slot=slot.id))[-1], Image)
    assert engine.pids == pids
    left_early = 0
    for pid in pids:
        record = record_of(models, pid)
        for ticket in {of for _, of in record}:
            did = done_for(record, ticket)
            assert did[-1] == "end"
            assert did.count("late") <= 1
            left_early += "step" in did and "picture" not in did
    assert left_early, "some were left while they were drawn"


async def test_a_killed_actor_is_lost_alone_and_replaced(engine: RayEngine) -> None:
    pids = engine.pids
    got: list[Event] = []

    async def read() -> None:
        async with contextlib.aclosing(engine.paint([recipe("short"), slow("long")], slot="ray:0")) as events:
            async for event in events:
                got.append(event)
                if isinstance(event, Image):
                    os.kill(pids[0] or 0, signal.SIGKILL)

    other = asyncio.create_task(all_of(engine, slow("other"), slot="ray:1"))
    with pytest.raises(EngineLost, match="was lost"):
        await read()
    assert [event.recipe_id for event in got if isinstance(event, Image)] == ["short"]
    assert isinstance((await other)[-1], Image)
    assert isinstance((await all_of(engine, recipe("again"), slot="ray:0"))[-1], Image)
    assert engine.pids[0] not in (None, pids[0])
    assert engine.pids[1] == pids[1]


@pytest.mark.chaos
async def test_a_killed_actor_is_known_to_be_lost_within_a_second(engine: RayEngine) -> None:
    seconds = []
    for _ in range(7):
        await until(lambda: engine.slots()[0].ready)
        async with contextlib.aclosing(engine.paint([slow("a")], slot="ray:0")) as events:
            await anext(events)
            killed = time.monotonic()
            os.kill(engine.pids[0] or 0, signal.SIGKILL)
            with pytest.raises(EngineLost):
                async for _ in events:
                    pass
        seconds.append(time.monotonic() - killed)
    print("seconds until EngineLost:", *(f"{one:.3f}" for one in sorted(seconds)))  # noqa: T201 - a figure
    assert statistics.median(seconds) < 1.0


async def test_a_lost_driver_is_started_again(engine: RayEngine, ray_cluster: Cluster) -> None:
    driver, pids = engine.driver_pid, engine.pids
    assert driver is not None
    paints = [asyncio.create_task(all_of(engine, slow("a"), slot=slot.id)) for slot in engine.slots()]
    await until(lambda: all(not task.done() for task in paints))
    os.kill(driver, signal.SIGKILL)
    ends = await asyncio.gather(*paints, return_exceptions=True)
    assert [type(end) for end in ends] == [EngineLost, EngineLost]
    assert not any(slot.ready for slot in engine.slots())
    await until(lambda: all(slot.ready for slot in engine.slots()))
    assert engine.driver_pid not in (None, driver)
    assert not any(alive(pid or 0) for pid in pids)
    for slot in engine.slots():
        assert isinstance((await all_of(engine, recipe("next"), slot=slot.id))[-1], Image)


def alive(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def settings(cluster: ClusterConfig, token: Path | None = None, address: str = "") -> Settings:
    return Settings(
        engine=EngineKind.RAY,
        ray_address=address or cluster.address,
        ray_token_file=token or Path(cluster.token_file),
    )


async def test_the_doctor_joins_the_cluster(ray_cluster: Cluster) -> None:
    ok, found = await ray_settings.check(settings(ray_cluster.config))
    assert (ok, found) == (True, f"2 GPUs of the Ray cluster at {ray_cluster.config.address}")


async def test_the_doctor_names_a_wrong_token(ray_cluster: Cluster, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("0" * 64, encoding="ascii")
    ok, found = await ray_settings.check(settings(ray_cluster.config, token))
    assert not ok
    assert "has another token than" in found
    assert str(token) in found


async def test_the_doctor_names_an_address_where_nothing_answers(ray_cluster: Cluster) -> None:
    ok, found = await ray_settings.check(settings(ray_cluster.config, address="127.0.0.1:1"))
    assert not ok
    assert found.startswith("Nothing answers at 127.0.0.1:1,")


async def test_a_cluster_that_asks_for_no_token_is_refused(tmp_path: Path) -> None:
    clusters.require()
    with clusters.open_head(tmp_path) as cluster:
        engine = RayEngine(EngineConfig("demo", str(tmp_path)), cluster, timeouts=PATIENT, worker=FAKE_WORKER)
        await engine.start()
        try:
            with pytest.raises(EngineError, match=f"The Ray cluster at {cluster.address} lets everybody in: "):
                await engine.warm()
            assert engine.state().phase is Phase.BROKEN
            assert "lets everybody in" in engine.state().problem
        finally:
            await engine.aclose()
        ok, found = await ray_settings.check(settings(cluster))
    assert not ok
    assert "lets everybody in" in found


QUICK_TO_DOUBT = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}


@pytest.mark.chaos
async def test_a_silent_machine_is_lost_and_the_others_draw_on(tmp_path: Path) -> None:
    clusters.require()
    with contextlib.ExitStack() as stack:
        cluster = await asyncio.to_thread(stack.enter_context, clusters.running(1, QUICK_TO_DOUBT))
        node = await asyncio.to_thread(stack.enter_context, clusters.second_node(cluster))
        config = EngineConfig("demo", str(tmp_path))
        engine = RayEngine(config, cluster.config, timeouts=PATIENT, worker=FAKE_WORKER)
        await engine.start()
        try:
            await until(lambda: len(engine.slots()) == 2 and all(slot.ready for slot in engine.slots()))
            silent, other = sorted(engine.slots(), key=lambda slot: not on(engine, slot, node))
            assert on(engine, silent, node)
            assert not on(engine, other, node)
            painting = asyncio.create_task(all_of(engine, slow("a"), slot=silent.id))
            stop_all(node)
            assert isinstance((await all_of(engine, recipe("b"), slot=other.id))[-1], Image)
            assert not painting.done()
            with pytest.raises(EngineLost):
                await painting
            assert isinstance((await all_of(engine, recipe("c"), slot=other.id))[-1], Image)
            assert not next(slot for slot in engine.slots() if slot.id == silent.id).ready
        finally:
            await engine.aclose()


def on(engine: RayEngine, slot: Slot, session: int) -> bool:
    """Whether a slot's actor is in a session."""
    pid = engine.pids[[each.id for each in engine.slots()].index(slot.id)]
    return pid is not None and in_session(pid, session)


def stop_all(session: int) -> None:
    """Stop every process of a session, as if the cable of its machine was pulled."""
    for pid in psutil.pids():
        if in_session(pid, session):
            os.kill(pid, signal.SIGSTOP)


async def test_a_cluster_on_this_machine_ends_with_a_service_that_is_killed(drawing: subprocess.Popen[str]) -> None:
    await asyncio.to_thread(_kill, drawing)


def _kill(service: subprocess.Popen[str]) -> None:
    assert service.stdout is not None
    driver = int(service.stdout.readline())
    processes = [process for process in psutil.process_iter() if in_session(process.pid, driver)]
    names = {process.name().partition("(")[0] for process in processes}
    files = {Path(file.path) for process in processes for file in process.open_files()}
    service.kill()
    assert {"gcs_server", "raylet", "ray::Painter"} <= names
    psutil.wait_procs(processes, timeout=10)
    assert not [process for process in processes if alive(process.pid)]
    own = [path for path in files if any(part.startswith("easel-ray-") for part in path.parts)]
    assert own
    assert not [path for path in own if path.exists()]
