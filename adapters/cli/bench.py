"""`easel bench`: compares Easel with a plain diffusers loop on this machine."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Any

from adapters.cli import environment
from adapters.cli.benchmark.run import measure
from adapters.cli.output import refusal_of
from bot.core.errors import Unavailable
from engine.contract import EngineError

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
    first, prompts = found["first_step_ms"], found["prompts"]
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
        "the engine's memory": f"{found['memory_bytes'] / 2**20:.0f} MiB",
    }
    if gpu := found.get("gpu"):
        facts["share of the device's peak"] = f"{100 * gpu['share_of_peak']:.0f} %"
    return "\n".join([*lines, *(f"{title:<35} {value}" for title, value in facts.items())])
