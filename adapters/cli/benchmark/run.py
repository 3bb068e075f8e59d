"""Runs the benchmark: by turns, so that all meet the same machine."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

from adapters.cli import surroundings
from adapters.cli.benchmark import loop as bare
from adapters.cli.benchmark.burst import Burst, burst
from adapters.cli.benchmark.machine import describe
from adapters.cli.benchmark.service import Client, Served, long_recipe, short_recipe
from adapters.cli.benchmark.watched import Watched
from adapters.cli.wiring import opened
from bot.settings import Settings
from engine.contract import EngineConfig, EngineState, Failed, Profile, Recipe
from engine.hub.shelf import present

FLOP = 0.5e15
"""Floating-point operations of Z-Image for 1024x1024 pixels in 8 steps (counted with torch's FlopCounterMode)."""

Note = Callable[[str], None]


async def measure(settings: Settings, requests: int, rounds: int, acks: int, note: Note) -> dict[str, Any]:
    """Measure and return everything as JSON values.

    Args:
        settings: What to draw with; its data folder is left alone.
        requests: Pictures in a burst.
        rounds: Bursts of each kind; medians are returned.
        acks: Requests whose answers are timed.
        note: Told what is being done.

    Raises:
        EngineError: The engine can't start.
        Refusal: The settings can't be used.
        RuntimeError: The bare loop can't be run, or a job failed.
    """
    engines: list[Watched] = []

    def make(config: EngineConfig) -> Watched:
        # Its own data, and the models that are here already.
        usual = surroundings.engine_config(settings)
        engines.append(Watched(replace(config, models_dir=usual.models_dir, models_file=usual.models_file)))
        return engines[0]

    with tempfile.TemporaryDirectory(prefix="easel-bench-") as folder:
        apart = settings.model_copy(update={"data_dir": Path(folder), "web_port": 0})
        async with opened(apart, make) as easel:
            engine = engines[0]
            note("loading")
            await engine.warm()
            profile = engine.profiles()[0]
            client = Client(easel, engine)
            runs = await _by_turns(client, settings, requests, rounds, note)
            note("answers")
            await client.burst(burst(profile, 2, 99).recipes)
            blocking = await client.ask(long_recipe(profile))
            await engine.stepping(blocking, 1)
            answers = await client.acks(short_recipe(profile), acks, 0.02)
            await client.cancel(blocking)
            note("preemption")
            preempted = [await client.preempt(long_recipe(profile), short_recipe(profile)) for _ in range(rounds)]
            state = engine.state()
            found = _report(state, profile, runs, answers, preempted)
    return found


class _Runs:
    """Seconds of each burst, by who drew it."""

    def __init__(self, burst: Burst) -> None:
        self.burst = burst
        self.single: list[float] = []
        self.batched: list[float] = []
        self.engine: list[float] = []
        self.served: list[Served] = []
        self.threads = 0
        self.peak = 0.0


async def _by_turns(client: Client, settings: Settings, requests: int, rounds: int, note: Note) -> _Runs:
    profile = client.engine.profiles()[0]
    runs = _Runs(burst(profile, requests, 1))
    state = client.engine.state()
    device = state.device.split()[0]
    async with bare.running(_folder(profile, settings), device, state.precision) as loop:
        runs.threads, runs.peak = loop.threads, loop.peak
        for n in range(rounds + 1):
            # Other seeds and prompts each time, the same for all; the first round warms everything up.
            these = burst(profile, requests if n else min(requests, 8), n + 1)
            note(f"round {n} of {rounds}" if n else "warming up")
            single = await loop.draw([[recipe] for recipe in these.recipes])
            batched = await loop.draw(these.batches())
            # In words of its own, or the service would find every prompt encoded already.
            engine = await _engine(client.engine, [replace(r, prompt=f"{r.prompt}.") for r in these.recipes])
            served = await client.burst(these.recipes)
            if n:
                runs.burst = these
                runs.single.append(single)
                runs.batched.append(batched)
                runs.engine.append(engine)
                runs.served.append(served)
    return runs


def _folder(profile: Profile, settings: Settings) -> str:
    """Return where the model's files are. Raises RuntimeError when they are no folder of a pipeline."""
    if Path(profile.source).is_dir():
        return profile.source
    models_dir = surroundings.engine_config(settings).models_dir
    found = present(profile.source, models_dir)
    if found is None:
        raise RuntimeError(f"the bare loop needs a folder or a hub id that is here: easel model pull {profile.name}")
    return str(found)


async def _engine(engine: Watched, recipes: Sequence[Recipe]) -> float:
    began = time.perf_counter()
    async with aclosing(engine.paint(recipes)) as events:
        async for event in events:
            if isinstance(event, Failed):
                raise RuntimeError(f"the engine failed: {event.error}")
    return time.perf_counter() - began


def _report(
    state: EngineState, profile: Profile, runs: _Runs, answers: list[float], preempted: list[int]
) -> dict[str, Any]:
    served = [s.seconds for s in runs.served]
    first = [seconds for s in runs.served for seconds in s.first_step]
    pictures = [seconds for s in runs.served for seconds in s.picture]
    count = len(runs.burst.recipes)
    idle = statistics.median(s.idle_share for s in runs.served)
    own = {"idle_share": idle, "preempt_steps": max(preempted), "ack_ms_p99": _ms(answers, 99)}
    found: dict[str, Any] = {
        "machine": {**describe(state), "threads": runs.threads},
        "model": profile.name,
        "plan": state.plan,
        "requests": count,
        "rounds": len(served),
        "seconds": {
            "bare_single": statistics.median(runs.single),
            "bare_batched": statistics.median(runs.batched),
            "engine": statistics.median(runs.engine),
            "service": statistics.median(served),
        },
        "pictures_per_second": count / statistics.median(served),
        # Of each round by itself: what disturbs one disturbs all of its turns alike.
        "ratios": {
            "bare_batched_vs_single": _ratio(runs.single, runs.batched),
            "engine_vs_bare_single": _ratio(runs.single, runs.engine),
            "engine_vs_bare_batched": _ratio(runs.batched, runs.engine),
            "service_vs_bare_single": _ratio(runs.single, served),
            "service_vs_bare_batched": _ratio(runs.batched, served),
            **own,
        },
        **own,
        "ack_ms_p50": _ms(answers, 50),
        "first_step_ms": {"p50": _ms(first, 50), "p99": _ms(first, 99)},
        "picture_ms": {"p50": _ms(pictures, 50), "p99": _ms(pictures, 99)},
        "prompts": {"drawn": count, "encoded": statistics.median(s.encoded for s in runs.served)},
        "memory_bytes": state.memory,
    }
    if runs.peak:
        work = sum(r.width * r.height * r.steps for r in runs.burst.recipes) / (2**20 * 8)
        share = FLOP * work / served[-1] / runs.peak
        found["gpu"] = {"peak_tflops": runs.peak / 1e12, "share_of_peak": share}
    return found


def _ratio(reference: Sequence[float], ours: Sequence[float]) -> float:
    return statistics.median(r / o for r, o in zip(reference, ours, strict=True))


def _ms(seconds: Sequence[float], percent: int) -> float:
    return statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1] * 1000
