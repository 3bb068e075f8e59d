"""`easel bench`: measures Easel next to a bare diffusers loop, in turns, so that all meet the same state of the machine."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from adapters.cli import environment
from adapters.cli.benchmark.costs import measure_loras, measure_small_models, write_loras
from adapters.cli.benchmark.png import SIDE, TEXTURED, measure_png, sample_pictures
from adapters.cli.benchmark.systems import (
    Baseline,
    BenchmarkClient,
    Burst,
    BurstResult,
    RecordingEngine,
    burst,
    format_errors,
    long_recipe,
    paused_calls,
    running_baseline,
    short_recipe,
    step_costs,
)
from adapters.cli.environment import AppSettings
from adapters.cli.output import refusal_of
from adapters.cli.wiring import opened
from bot.core.errors import Unavailable
from bot.settings import Settings
from engine import catalogue
from engine.contract import EngineConfig, EngineError, EngineState, Failed, Profile, Recipe
from engine.hub.cache import present

REQUESTS, ROUNDS, ACKS = 32, 5, 200
QUICK_REQUESTS, QUICK_ROUNDS, QUICK_ACKS = 6, 1, 10


def main(args: argparse.Namespace) -> int:
    """Measure and print. Returns 0; raises Refusal when nothing can be measured."""
    settings = environment.settings()
    requests, rounds, acks = (QUICK_REQUESTS, QUICK_ROUNDS, QUICK_ACKS) if args.quick else (REQUESTS, ROUNDS, ACKS)
    try:
        found = asyncio.run(measure(settings, requests, rounds, acks, _note))
    except EngineError as error:
        raise refusal_of(error) from None
    except RuntimeError as error:
        raise Unavailable("cli.bench.failed", reason=str(error)) from error
    print(json.dumps(found, indent=2) if args.json else _table(found))  # noqa: T201 - its output
    return 0


def _note(what: str) -> None:
    print(f"easel bench: {what}", file=sys.stderr, flush=True)  # noqa: T201 - how it comes along


def _table(found: dict[str, Any]) -> str:
    machine, seconds, ratios = found["machine"], found["seconds"], found["ratios"]
    first, prompts, png = found["first_step_ms"], found["prompts"], found["png"]
    step = found["step_outside_denoiser_ms"]
    where = f"{machine['processor']}, {machine['cores']} cores, torch {machine['torch']}"
    lines = [
        f"{found['model']} on {machine['device']} in {machine['precision']}: {where}",
        f"{found['requests']} mixed requests at once, the best of {found['rounds']} rounds:",
    ]
    titles = {
        "bare_single": "bare diffusers, one by one",
        "bare_batched": "bare diffusers, in batches",
        "engine": "Easel's engine",
        "service": "all of Easel",
    }
    for name, title in titles.items():
        speed = found["requests"] / seconds[name]
        times = seconds["bare_single"] / seconds[name]
        lines.append(f"  {title:<28} {seconds[name]:7.2f} s  {speed:6.2f} pictures/s  {times:5.2f} x")
    facts = {
        "all of Easel over bare batches": f"{ratios['service_vs_bare_batched']:.2f} x",
        "idle between batches": f"{100 * found['idle_share']:.1f} %",
        "a short request behind a long one": f"after {found['preempt_steps']} steps",
        "answer to a request while drawing": f"p50 {found['ack_ms_p50']:.1f} ms, p99 {found['ack_ms_p99']:.1f} ms",
        "first step of a request in a burst": f"p50 {first['p50']:.0f} ms, p99 {first['p99']:.0f} ms",
        "prompts encoded": f"{prompts['encoded']:.0f} of {prompts['drawn']}",
        "paused calls over plain calls": f"{ratios['paused_vs_plain']:.2f} x",
        "a step outside the denoiser": ", ".join(f"{name} {ms:.2f} ms" for name, ms in step.items()),
        f"PNG of {SIDE}x{SIDE} pixels": f"{png['ms']:.0f} ms (Pillow's default: {png['pillow_ms']:.0f} ms)",
        "the engine's memory": f"{found['memory_bytes'] / 2**20:.0f} MiB",
    }
    if gpu := found.get("gpu"):
        facts["share of the device's peak"] = f"{100 * gpu['share_of_peak']:.0f} %"
    if loras := found.get("loras"):
        facts["a picture with a LoRA"] = f"{loras['with_over_without']:.2f} x the time without"
        facts["a change of LoRAs"] = f"{loras['change_ms']:.0f} ms"
    small = found["small_models"]
    facts["loading another small model"] = f"{small['load_seconds']:.2f} s"
    facts["a change between two loaded models"] = f"{small['change_ms']:.0f} ms"
    facts["edits by two pictures over plain calls"] = f"{small['edit_vs_plain']:.2f} x"
    facts["loads in its turns"] = f"{small['reloads']}"
    for name, errors in found["format_errors"].items():
        facts[f"mean error of {name}, of 255"] = f"fp16 {errors['fp16']:.2f}, bf16 {errors['bf16']:.2f}"
        facts[f"{name}, largest difference from diffusers"] = f"{errors['pipeline']:.2f} of 255"
    return "\n".join([*lines, *(f"{title:<40} {value}" for title, value in facts.items())])


FLOP = 0.5e15
"""Floating-point operations of Z-Image for 1024x1024 pixels in 8 steps (counted with torch's FlopCounterMode)."""

Note = Callable[[str], None]


async def measure(settings: Settings, requests: int, rounds: int, acks: int, note: Note) -> dict[str, Any]:
    """Measure and return everything as JSON values.

    Args:
        settings: The settings; the data folder is not used.
        requests: Pictures in a burst.
        rounds: Bursts of each kind; the best of them counts.
        acks: Requests whose answers are timed.
        note: Called with the present phase.

    Raises:
        EngineError: The engine can't start.
        Refusal: The settings can't be used.
        RuntimeError: The baseline can't be run, or a job failed.
    """
    engines: list[RecordingEngine] = []

    def make(config: EngineConfig) -> RecordingEngine:
        # A temporary data folder, with the models that are already downloaded.
        usual = environment.engine_config(settings)
        apart = replace(config, models_dir=usual.models_dir, models_file=usual.models_file)
        engines.append(RecordingEngine(replace(apart, lora_dir=_loras(settings, folder))))
        return engines[0]

    with tempfile.TemporaryDirectory(prefix="easel-bench-") as folder:
        apart = AppSettings(settings.model_copy(update={"data_dir": Path(folder)}))
        async with opened(apart, make) as easel:
            engine = engines[0]
            note("loading")
            await engine.warm()
            profile = engine.profiles()[0]
            client = BenchmarkClient(easel, engine)
            runs = await _by_turns(client, settings, requests, rounds, note)
            note("answers")
            await client.burst(burst(profile, 2, 99).recipes)
            blocking = await client.ask(long_recipe(profile))
            await engine.stepping(blocking, 1)
            answers = await client.acks(short_recipe(profile), acks, 0.02)
            await client.cancel(blocking)
            note("preemption")
            preempted = [await client.preempt(long_recipe(profile), short_recipe(profile)) for _ in range(rounds)]
            cost = None
            if engine.loras():
                note("LoRAs")
                cost = await measure_loras(engine, short_recipe(profile), rounds)
            state = engine.state()
            note("paused calls")
            paused = await _paused(profile, settings, state, requests, rounds)
            found = _report(state, profile, runs, answers, preempted)
            note("steps")
            found["step_outside_denoiser_ms"] = await step_costs(state.device.split()[0])
            note("number formats")
            found["format_errors"] = await format_errors(state.device.split()[0])
            found["ratios"]["paused_vs_plain"] = found["paused_vs_plain"] = paused
            if cost is not None:
                change = max(0.0, cost.changed - cost.same) * 1000
                found["loras"] = {"with_over_without": cost.same / cost.without, "change_ms": change}
    with tempfile.TemporaryDirectory(prefix="easel-bench-") as other:
        small = await measure_small_models(settings, Path(other), rounds, note)
    found["small_models"] = asdict(small)
    note("PNG")
    found["png"] = asdict(await asyncio.to_thread(measure_png, sample_pictures()[TEXTURED]))
    return found


def _loras(settings: Settings, folder: str) -> str:
    """Return a folder with LoRAs for the model; empty where its files do not tell its layers."""
    config = environment.engine_config(settings)
    try:
        profile = catalogue.read_catalogue(config.model, config.models_dir, config.models_file).specs[0].profile
        pipeline = Path(_folder(profile, settings))
    except (EngineError, RuntimeError):
        return ""
    into = Path(folder) / "loras"
    return str(into) if write_loras(pipeline, into) else ""


async def _paused(profile: Profile, settings: Settings, state: EngineState, requests: int, rounds: int) -> float:
    """Return the speed of calls that are paused between their steps, where that of plain calls is 1.

    It is how a pipeline is drawn that no family is made for; any pipeline can be.
    """
    recipes = burst(profile, max(2, requests // 4), 7).recipes
    device = state.device.split()[0]
    plain, paused = await paused_calls(_folder(profile, settings), device, state.precision, [recipes] * (1 + rounds))
    return min(plain) / min(paused)


class _Runs:
    """Seconds of each burst, by system."""

    def __init__(self, burst: Burst) -> None:
        self.burst = burst
        self.single: list[float] = []
        self.batched: list[float] = []
        self.engine: list[float] = []
        self.served: list[BurstResult] = []
        self.threads = 0
        self.peak = 0.0


async def _by_turns(client: BenchmarkClient, settings: Settings, requests: int, rounds: int, note: Note) -> _Runs:
    profile = client.engine.profiles()[0]
    runs = _Runs(burst(profile, requests, 1))
    state = client.engine.state()
    device = state.device.split()[0]
    async with running_baseline(_folder(profile, settings), device, state.precision) as loop:
        runs.threads, runs.peak = loop.threads, loop.peak
        note("warming up")
        await _round(client, loop, burst(profile, min(requests, 8), 0), _Runs(runs.burst), 0)
        for n in range(rounds):
            note(f"round {n + 1} of {rounds}")
            # Other prompts each round, so that none is cached.
            await _round(client, loop, burst(profile, requests, n + 1), runs, n)
    return runs


async def _round(client: BenchmarkClient, loop: Baseline, these: Burst, runs: _Runs, n: int) -> None:
    """Let each system draw the burst once. The order rotates, since a machine's speed varies over time."""

    async def single() -> None:
        runs.single.append(await loop.draw([[recipe] for recipe in these.recipes]))

    async def batched() -> None:
        runs.batched.append(await loop.draw(these.batches()))

    async def engine() -> None:
        # Other prompts than the service's, which would else find them cached.
        runs.engine.append(await _engine(client.engine, [replace(r, prompt=f"{r.prompt}.") for r in these.recipes]))

    async def service() -> None:
        runs.served.append(await client.burst(these.recipes))

    turns = [single, batched, engine, service]
    for turn in turns[n % 4 :] + turns[: n % 4]:
        await turn()


def _folder(profile: Profile, settings: Settings) -> str:
    """Return the folder of the model's pipeline. Raises RuntimeError if there is none."""
    if Path(profile.source).is_dir():
        return profile.source
    models_dir = environment.engine_config(settings).models_dir
    found = present(profile.source, models_dir)
    if found is None:
        raise RuntimeError(f"the bare loop needs a folder or a hub id that is here: easel model pull {profile.name}")
    return str(found)


async def _engine(engine: RecordingEngine, recipes: Sequence[Recipe]) -> float:
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
    rounds = {"bare_single": runs.single, "bare_batched": runs.batched, "engine": runs.engine, "service": served}
    # The best of all rounds: disturbances only make a machine slower (as in Python's timeit).
    best = {name: min(seconds) for name, seconds in rounds.items()}
    idle = statistics.median(s.idle_share for s in runs.served)
    own = {"idle_share": idle, "preempt_steps": max(preempted), "ack_ms_p99": _ms(answers, 99)}
    found: dict[str, Any] = {
        "machine": {**_machine(state), "threads": runs.threads},
        "model": profile.name,
        "plan": state.plan,
        "requests": count,
        "rounds": len(served),
        "seconds": best,
        "seconds_of_each_round": rounds,
        "pictures_per_second": count / best["service"],
        "ratios": {
            "bare_batched_vs_single": best["bare_single"] / best["bare_batched"],
            "engine_vs_bare_single": best["bare_single"] / best["engine"],
            "engine_vs_bare_batched": best["bare_batched"] / best["engine"],
            "service_vs_bare_single": best["bare_single"] / best["service"],
            "service_vs_bare_batched": best["bare_batched"] / best["service"],
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
        share = FLOP * work / best["service"] / runs.peak
        found["gpu"] = {"peak_tflops": runs.peak / 1e12, "share_of_peak": share}
    return found


def _ms(seconds: Sequence[float], percent: int) -> float:
    return statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1] * 1000


def _machine(state: EngineState) -> dict[str, str | int]:
    """Return the machine's processor, cores, memory and device, and the versions that matter."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        "memory_bytes": _main_memory(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": version("torch"),
        "diffusers": version("diffusers"),
        "device": state.device,
        "precision": state.precision,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _main_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 0
