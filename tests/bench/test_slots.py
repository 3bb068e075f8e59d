"""One service that feeds many devices: how close to their ceiling it comes, and what a picture costs the processor."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from engine.host.process_engine import CALLS
from tests.bench.test_speed import measured, worker
from tests.fakes import ray_cluster

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

SLOTS = 100
LIMIT_SHARE = 0.98
LIMIT_SHARE_ALONE = 0.95
LIMIT_SHARE_RAY = 0.95
LIMIT_IDLE_MS = 50.0
LIMIT_CPU = 3.0
LIMIT_CPU_PAGE = 2.3
"""What a picture with its card, and one for the page, cost the processor, as multiples of ``bare_slots`` on this machine."""

AIM_CPU_MS = 5.0
"""The same in milliseconds; machines differ by a factor of three, so it is told and no limit."""


def run(benchmark: BenchmarkFixture, folder: Path, seconds: Sequence[float], **plan: Any) -> Any:
    """Measure a plan in a process of its own, and print what it found."""
    text = json.dumps({"seconds": seconds, **plan})
    found = measured(benchmark)(lambda: worker("tests.bench.slot_service", text, folder), rounds=1)
    benchmark.extra_info.update(found)
    sys.stdout.write("".join(f"\n  {name}: {value}" for name, value in found.items()) + "\n")
    return found


def ratio_to_bare(benchmark: BenchmarkFixture, folder: Path, found: Any, size: int) -> float:
    """Print and return what a picture costs the processor, as a multiple of what it costs a bare service."""
    bare = worker("tests.bench.bare_slots", size, 8, folder)
    ratio: float = found["cpu_ms_per_picture"] / bare["cpu_ms_per_picture"]
    benchmark.extra_info.update(bare=bare, ratio=ratio, aim_ms=AIM_CPU_MS)
    sys.stdout.write(f"  bare: {bare}, ratio: {ratio:.2f}\n")
    return ratio


@pytest.mark.parametrize("size", [200_000, 1_500_000])
def test_a_hundred_devices_of_one_picture_a_second(benchmark: BenchmarkFixture, folder: Path, size: int) -> None:
    """Enough waits: the devices draw without a pause (limits: 98 % of the ceiling, idle p99 50 ms)."""
    found = run(benchmark, folder, [1.0] * SLOTS, size=size, calls=CALLS)
    assert found["share_of_ceiling"] >= LIMIT_SHARE
    assert found["idle_ms"]["p99"] < LIMIT_IDLE_MS
    assert ratio_to_bare(benchmark, folder, found, size) < LIMIT_CPU


def test_devices_that_are_given_nothing_ahead(benchmark: BenchmarkFixture, folder: Path) -> None:
    """One call at a time: each device waits for the dispatcher after each batch (limit: 95 % of the ceiling)."""
    found = run(benchmark, folder, [1.0] * SLOTS, size=200_000, calls=1)
    assert found["share_of_ceiling"] >= LIMIT_SHARE_ALONE


@pytest.mark.parametrize("size", [200_000, 1_500_000])
def test_a_hundred_devices_in_two_actors_of_ray(benchmark: BenchmarkFixture, folder: Path, size: int) -> None:
    """The same through Ray: two actors with 50 devices each (limit: 95 % of the ceiling with 200 kB)."""
    ray_cluster.require()
    found = run(benchmark, folder, [1.0] * SLOTS, size=size, calls=CALLS, actors=2)
    if size == 200_000:
        assert found["share_of_ceiling"] >= LIMIT_SHARE_RAY


def test_requests_from_the_page(benchmark: BenchmarkFixture, folder: Path) -> None:
    """The same without chats, whose cards cost more than the pictures' rows."""
    found = run(benchmark, folder, [1.0] * SLOTS, size=200_000, calls=CALLS, chats=False)
    assert found["share_of_ceiling"] >= LIMIT_SHARE
    assert ratio_to_bare(benchmark, folder, found, 200_000) < LIMIT_CPU_PAGE


@pytest.mark.parametrize("rate", [0.9, 1.1])
def test_requests_at_random_moments(benchmark: BenchmarkFixture, folder: Path, rate: float) -> None:
    """Open loop: below the ceiling waits are short, above it the queue grows by what is too much (admission included)."""
    found = run(benchmark, folder, [1.0] * SLOTS, size=200_000, calls=CALLS, arrivals=rate * SLOTS, window=15.0)
    if rate < 1:
        assert found["wait_s"]["p50"] < 0.1
        assert found["wait_s"]["p99"] < 2.0
        assert found["pictures"] >= 0.97 * found["asked"]
    else:
        assert found["share_of_ceiling"] >= 0.95


def test_a_device_four_times_as_fast_gets_four_times_the_work(benchmark: BenchmarkFixture, folder: Path) -> None:
    """Two devices of rate 1 and 4 share 20 : 80 (limit: 5 %)."""
    found = run(benchmark, folder, [1.0, 0.25], size=200_000, calls=CALLS, window=20.0)
    slow, fast = found["by_slot"]
    assert abs(fast / (slow + fast) - 0.8) < 0.05
    assert found["share_of_ceiling"] >= LIMIT_SHARE
