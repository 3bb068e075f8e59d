"""What only the engine in a process of its own must do: outlive its child, end with its parent, load safely."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image as Pillow

from engine.contract import (
    EngineConfig,
    EngineError,
    Event,
    Failed,
    Image,
    LoraRequest,
    OutOfMemory,
    Overflow,
    Phase,
    Recipe,
    Step,
    UnknownLora,
    UnknownModel,
)
from engine.host.process_engine import ProcessEngine
from engine.host.supervision import Timeouts
from tests.fakes import models, upscalers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

IMPATIENT = Timeouts(first_pause=0.01, longest_pause=0.02)


def recipe(name: str, prompt: str = "a red apple", model: str = "demo", side: int = 192, steps: int = 2) -> Recipe:
    return Recipe(name, model, prompt, "", side, side, steps, 0.0, 7)


def started(
    model: str | Path, models_dir: str = "nowhere", environment: Mapping[str, str] | None = None
) -> contextlib.AbstractAsyncContextManager[ProcessEngine]:
    return running(EngineConfig(str(model), models_dir, environment=environment or {}))


@contextlib.asynccontextmanager
async def running(config: EngineConfig) -> AsyncIterator[ProcessEngine]:
    engine = ProcessEngine(config, IMPATIENT)
    await engine.start()
    try:
        async with asyncio.timeout(200):
            yield engine
    finally:
        await engine.aclose()


async def all_of(engine: ProcessEngine, *recipes: Recipe) -> list[Event]:
    async with contextlib.aclosing(engine.paint(recipes)) as events:
        return [e async for e in events]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # the engine tells its state to whom asks, not by events
        await asyncio.sleep(0.01)


_PARENT = """
import asyncio, sys
from engine.contract import EngineConfig, Recipe
from engine.host.process_engine import ProcessEngine

async def main():
    engine = ProcessEngine(EngineConfig("demo", "nowhere"))
    await engine.start()
    if sys.argv[1] == "loading":
        while engine.pid is None:
            await asyncio.sleep(0.01)
        print(engine.pid, flush=True)
        await asyncio.sleep(3600)
    await engine.warm()
    async for _ in engine.paint([Recipe("a", "demo", "a cat", "", 512, 512, 50, 0.0, 7)]):
        print(engine.pid, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("when", ["loading", "drawing"])
def test_it_ends_when_its_parent_is_killed(when: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, when], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    try:
        child = psutil.Process(int(parent.stdout.readline()))
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    # It has a second; the rest is for a machine that is busy with other things.
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


async def test_a_signal_for_everybody_does_not_end_it_and_closing_does_in_mid_step() -> None:
    async with started("demo") as engine:
        await engine.warm()
        pid = engine.pid
        assert pid is not None
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
        assert isinstance((await all_of(engine, recipe("a")))[-1], Image)
        assert (engine.pid, engine.state().restarts) == (pid, 0)
        async with contextlib.aclosing(engine.paint([recipe("long", side=512, steps=50)])) as events:
            assert isinstance(await anext(events), Step)
            async with asyncio.timeout(5):
                await engine.aclose()
            assert not psutil.pid_exists(pid)


async def test_what_is_open_when_it_breaks_fails(tmp_path: Path) -> None:
    folder = models.cut_short(tmp_path / "cut")
    async with started(folder) as engine:
        (end,) = await all_of(engine, recipe("a", model="cut"))
        assert isinstance(end, Failed)
        assert isinstance(end.error, UnknownModel)
        assert str(folder) in str(end.error)
        assert engine.state().restarts == 0


async def test_a_prompt_that_overflows_fails_alone(tmp_path: Path) -> None:
    async with started(models.poisoned(tmp_path / "poisoned")) as engine:
        rows = [recipe(n, p, "poisoned") for n, p in (("a", "a cat"), ("bad", f"a {models.POISON}"), ("b", "a dog"))]
        ends = {e.recipe_id: e for e in await all_of(engine, *rows) if not isinstance(e, Step)}
        bad = ends["bad"]
        assert isinstance(bad, Failed)
        assert "overflowed" in str(bad.error)
        assert isinstance(ends["a"], Image)
        assert isinstance(ends["b"], Image)


async def test_without_work_its_memory_is_given_back_and_comes_again(tmp_path: Path) -> None:
    config = EngineConfig("demo", str(tmp_path), idle_unload=0.3 / 60)
    engine = ProcessEngine(config, IMPATIENT)
    await engine.start()
    try:
        async with asyncio.timeout(200):
            await until(lambda: engine.state().phase is Phase.IDLE)
            await engine.warm()
            first = (await all_of(engine, recipe("a")))[-1]
            assert isinstance(first, Image)
            await until(lambda: engine.state().phase is Phase.IDLE)
            await until(lambda: not engine.state().without_load)
            again = (await all_of(engine, recipe("a")))[-1]
            assert isinstance(again, Image)
            assert again.data == first.data
            assert (engine.state().restarts, engine.state().switch_seconds > 0) == (0, True)
    finally:
        await engine.aclose()


async def test_models_of_the_operator_take_turns_and_a_bad_one_takes_nobody_with_it(tmp_path: Path) -> None:
    small = models.small_sd15(tmp_path / "small")
    models.cut_short(tmp_path / "cut")
    own = tmp_path / "models.toml"
    own.write_text(f'[small]\nsource = "{small}"\n\n[cut]\nsource = "{tmp_path / "cut"}"\n', encoding="utf-8")
    engine = ProcessEngine(EngineConfig("demo", str(tmp_path), models_file=str(own)), IMPATIENT)
    await engine.start()
    try:
        async with asyncio.timeout(200):
            await engine.warm()
            assert {p.name for p in engine.profiles()} == {"demo", "small", "cut"}
            rows = [recipe("a"), recipe("b", model="small", side=64), recipe("c", model="cut", side=64), recipe("d")]
            events = await all_of(engine, *rows, recipe("e", model="nobody"))
            ends = {e.recipe_id: e for e in events if isinstance(e, Image | Failed)}
            assert {n for n, e in ends.items() if isinstance(e, Image)} == {"a", "b", "d"}
            await until(lambda: set(engine.state().resident) == {"demo", "small"})
            for name in ("c", "e"):
                end = ends[name]
                assert isinstance(end, Failed)
                assert isinstance(end.error, UnknownModel)
            assert isinstance((await all_of(engine, recipe("f")))[-1], Image)
            assert (engine.state().model, engine.state().restarts) == ("demo", 0)
    finally:
        await engine.aclose()


async def test_what_overflows_in_fp16_is_drawn_again_and_delivered_right(tmp_path: Path) -> None:
    # Z-Image's classes are never computed in fp16 at all; these are, and overflow.
    folder = models.overflowing(tmp_path / "hot", "sd15")

    async def drawn(precision: str) -> Image:
        config = EngineConfig(str(folder), str(tmp_path), precision=precision)
        async with short_of_memory(config, "plan", "nothing") as engine:
            end = (await all_of(engine, recipe("a", model="hot", side=64)))[-1]
            assert isinstance(end, Image), end
            return end

    right = await drawn("fp32")
    again = await drawn("fp16")
    assert (right.precision, right.notes) == ("fp32", ())
    assert again.data == right.data
    assert again.precision == "fp32"


@contextlib.asynccontextmanager
async def short_of_memory(config: EngineConfig, when: str, what: str) -> AsyncIterator[ProcessEngine]:
    """Run the real engine in a process whose memory is too small for some loads (``tests/fakes/short_memory.py``)."""
    command = (sys.executable, "-m", "tests.fakes.short_memory", when, what)
    engine = ProcessEngine(config, IMPATIENT, command)
    await engine.start()
    try:
        async with asyncio.timeout(200):
            await engine.warm()
            yield engine
    finally:
        await engine.aclose()


def ends_of(events: list[Event]) -> dict[str, Image | Failed]:
    return {e.recipe_id: e for e in events if isinstance(e, Image | Failed)}


@pytest.mark.parametrize(
    ("when", "fits"), [("", True), ("plan", False), pytest.param("load", False, marks=pytest.mark.soak)]
)
async def test_one_picture_that_overflows_costs_the_others_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, when: str, fits: bool
) -> None:
    caplog.set_level(logging.WARNING)
    config = EngineConfig(str(models.loud(tmp_path / "loud")), str(tmp_path), precision="fp16")
    quiet = recipe("a", "red cat", "loud", 64, 4)
    loud = replace(quiet, id="loud", prompt=f"{models.LOUD} cat")
    async with short_of_memory(config, when or "plan", "fp32" if when else "nothing") as engine:
        pid = engine.pid
        found = ends_of(await all_of(engine, quiet, loud, replace(quiet, id="b", steps=9)))
        (later,) = ends_of(await all_of(engine, replace(quiet, id="c"))).values()
        (again,) = ends_of(await all_of(engine, loud)).values()
        (last,) = ends_of(await all_of(engine, replace(quiet, id="d"))).values()
        assert (engine.pid, engine.state().restarts, engine.state().phase) == (pid, 0, Phase.WARM)
    for end in (found["a"], found["b"], later, last):
        assert isinstance(end, Image), end
    usual = "fp32" if fits else "fp16"
    assert [e.precision for e in (found["a"], found["b"], later, last) if isinstance(e, Image)] == [
        "fp16",
        "fp16",
        usual,
        usual,
    ]
    for end in (found["loud"], again):
        if fits:
            assert isinstance(end, Image)
            assert end.precision == "fp32"
        else:
            assert isinstance(end, Failed)
            assert isinstance(end.error, Overflow)
    said = "draws in fp32 from now on" if fits else "can't be loaded"
    assert sum(said in r.message for r in caplog.records) == 1


@pytest.mark.parametrize("when", ["plan", pytest.param("load", marks=pytest.mark.soak)])
async def test_a_second_model_that_is_too_large_leaves_the_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    caplog.set_level(logging.WARNING)
    (tmp_path / "models.toml").write_text(f'[small]\nsource = "{models.small_sd15(tmp_path / "small")}"\n')
    config = EngineConfig("demo", str(tmp_path), models_file=str(tmp_path / "models.toml"))
    first, second = recipe("a"), recipe("b", model="small", side=64)
    # A load that fails beside another model is tried again without it.
    async with short_of_memory(config, when, "small*1" if when == "plan" else "small*2") as engine:
        found = ends_of(await all_of(engine, first, second))
        state = engine.state()
        assert (state.phase, state.model, state.restarts) == (Phase.WARM, "demo", 0)
        (again,) = ends_of(await all_of(engine, replace(first, id="c"))).values()
        (other,) = ends_of(await all_of(engine, second)).values()
    assert isinstance(found["a"], Image)
    assert isinstance(again, Image)
    refused = found["b"]
    assert isinstance(refused, Failed)
    assert isinstance(refused.error, OutOfMemory)
    # A plan costs nothing and is made again; a load that failed is not repeated at once.
    assert isinstance(other, Image if when == "plan" else Failed)
    said = "demo stays loaded" if when == "plan" else "demo was loaded again"
    assert sum(said in r.message for r in caplog.records) == 1


async def test_pictures_with_loras_of_the_operators_folder(tmp_path: Path) -> None:
    folder = tmp_path / "loras"
    folder.mkdir()
    for name, seed in (("ink", 1), ("Oil", 2)):
        models.write_lora(folder / f"{name}.safetensors", "dora by output", seed=seed)
    (folder / "cut.safetensors").write_bytes((folder / "ink.safetensors").read_bytes()[:900])
    plain = recipe("plain")
    both = (LoraRequest("ink", 0.8), LoraRequest("oil", 0.5))
    sets = {"ink": both[:1], "half": (LoraRequest("ink", 0.4),), "both": both, "swapped": both[::-1], "none": ()}
    recipes = [replace(plain, id=name, loras=loras) for name, loras in sets.items()]
    async with running(EngineConfig("demo", "nowhere", lora_dir=str(folder))) as engine:
        assert [(lora.name, lora.family) for lora in engine.loras()] == [("ink", "z_image"), ("oil", "z_image")]
        found = ends_of(await all_of(engine, plain, *recipes, replace(plain, id="cut", loras=(LoraRequest("cut"),))))
        (folder / "Oil.safetensors").unlink()
        gone = ends_of(await all_of(engine, replace(recipes[2], id="gone"), replace(recipes[0], id="again")))
        assert engine.state().restarts == 0
    images = {name: end for name, end in found.items() if isinstance(end, Image)}
    assert images.keys() == {"plain", *sets}
    assert images["plain"].data == images["none"].data
    assert len({images[name].data for name in ("plain", "ink", "half", "both")}) == 4
    assert len({images[name].setup for name in ("plain", "ink", "half", "both")}) == 4
    assert images["both"].setup == images["swapped"].setup
    assert [name for name, digest in images["both"].loras if len(digest) == 12] == ["ink", "oil"]
    file = (folder / "ink.safetensors").read_bytes()
    tensors = file[8 + int.from_bytes(file[:8], "little") :]
    assert dict(images["ink"].loras)["ink"] == hashlib.sha256(tensors).hexdigest()[:12]
    for end, said in ((found["cut"], "'cut'"), (gone["gone"], "oil is not there any more")):
        assert isinstance(end, Failed)
        assert isinstance(end.error, UnknownLora)
        assert said in str(end.error)
    again = gone["again"]
    assert isinstance(again, Image)
    assert again.data == images["ink"].data


async def test_what_is_too_small_is_enlarged_by_the_operators_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(upscalers.folder(tmp_path / "library")))
    for name, side in (("small", 96), ("large", 192)):
        Pillow.new("RGB", (side, side), (90, 90, 90)).save(tmp_path / f"{name}.png")
    plain = recipe("plain")
    small, large = (replace(plain, id=n, image=str(tmp_path / f"{n}.png"), strength=0.01) for n in ("small", "large"))
    file = upscalers.write(tmp_path / "up.safetensors")
    config = EngineConfig("demo", "nowhere", idle_unload=0.3 / 60, upscaler=str(file), step_cache=3)
    async with running(config) as engine:
        long = replace(plain, id="long", width=96, height=96, steps=20)
        ends = [(await all_of(engine, one))[-1] for one in (plain, large, small, long)]
        found = {e.recipe_id: e for e in ends if isinstance(e, Image)}
        await until(lambda: engine.state().phase is Phase.IDLE)
        again = (await all_of(engine, small))[-1]
        await until(lambda: engine.state().phase is Phase.IDLE)
        upscalers.write(file, scale=3)
        other = (await all_of(engine, small))[-1]
        assert engine.state().restarts == 0
    assert isinstance(again, Image)
    assert isinstance(other, Image)
    assert (again.data, again.setup) == (found["small"].data, found["small"].setup)
    assert other.setup != again.setup, "while there was no work it was let go of"
    assert found["plain"].setup == found["large"].setup
    assert len({found[name].setup for name in ("plain", "small", "long")}) == 3, "steps were guessed in the long one"

    def red(image: Image) -> float:
        pixels = np.asarray(Pillow.open(io.BytesIO(image.data)), np.float32)
        return float((pixels[..., 0] - pixels[..., 2]).mean())

    assert red(found["small"]) > red(found["large"]) + upscalers.SHIFT / 2


async def test_an_upscaler_that_cannot_be_used_is_said_when_the_engine_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spandrel.py").write_text("raise ImportError('torchvision is of another torch')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    file = upscalers.write(tmp_path / "up.safetensors")
    async with running(EngineConfig("demo", "nowhere", upscaler=str(file))) as engine:
        with pytest.raises(EngineError, match="torchvision is of another torch"):
            await engine.warm()
        assert engine.state().phase is Phase.BROKEN
        assert engine.state().problem.startswith("EASEL_UPSCALER")


async def test_a_hub_that_cannot_be_reached_is_tried_again(tmp_path: Path) -> None:
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    async with started("Tongyi-MAI/Z-Image-Turbo", str(tmp_path), nowhere) as engine:
        await until(lambda: engine.state().restarts >= 1)
        await until(lambda: "can't be reached" in engine.state().problem)


@pytest.mark.parametrize("module", ["engine.host.process_engine", "engine.catalogue", "engine.contract"])
def test_the_service_loads_no_tensors(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{'torch', 'diffusers', 'transformers', 'numpy'}} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
