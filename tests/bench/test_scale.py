"""Where one service ends: 10, 100 and 1,000 devices, what the disk takes, and which part fills up first."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bot.storage import data_files
from engine.host.process_engine import CALLS
from tests.bench.percentiles import percentile
from tests.bench.scale_model import Costs, simulate
from tests.bench.test_slots import run
from tests.bench.test_speed import measured

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

AT_ONCE = 16
"""Files that are written at the same time."""

SECONDS = 5.0


@pytest.mark.parametrize("devices", [10, 100, 1000])
def test_devices_of_one_picture_a_second(benchmark: BenchmarkFixture, folder: Path, devices: int) -> None:
    """The real service, as many pictures as it can; how full the event loop's core and the writer are says what ends it."""
    found = run(benchmark, folder, [1.0] * devices, size=200_000, window=8.0, calls=CALLS)
    if devices <= 100:
        assert found["share_of_ceiling"] >= 0.95


async def _written(folder: Path, size: int) -> list[float]:
    """Return how long each file took that was written in SECONDS."""
    seconds: list[float] = []
    end = time.perf_counter() + SECONDS
    data = bytes(size)

    async def write(who: int) -> None:
        number = 0
        while (begin := time.perf_counter()) < end:
            await data_files.write(folder, f"2026/01/02/{who}-{number}.png", data)
            seconds.append(time.perf_counter() - begin)
            number += 1

    await asyncio.gather(*(write(n) for n in range(AT_ONCE)))
    return seconds


@pytest.mark.parametrize("size", [200_000, 1_500_000])
def test_files_on_the_disk(benchmark: BenchmarkFixture, tmp_path: Path, size: int) -> None:
    """Files written durably, as pictures are: each is synced, and its folder."""
    seconds = measured(benchmark)(lambda: asyncio.run(_written(tmp_path, size)), rounds=1)
    rate = len(seconds) / SECONDS
    benchmark.extra_info.update(
        files_per_s=round(rate), mb_per_s=round(rate * size / 1e6), p99_ms=round(percentile(seconds, 99) * 1000, 1)
    )
    sys.stdout.write(f"{size} bytes: {benchmark.extra_info}\n")
    assert rate > 10


MEASURED = Costs(loop=0.003, statements=0.0004, commit=0.004, store=0.010, channels=16)
"""Rounded from the runs above on the machine of docs/performance.md."""


@pytest.mark.parametrize("calls", [2, 0])
def test_what_fills_up_first(benchmark: BenchmarkFixture, calls: int) -> None:
    """In virtual time, with costs as measured, for a chat platform and for the page alone: the same in every run."""
    costs = replace(MEASURED, calls=calls)
    tables = measured(benchmark)(lambda: {devices: simulate(devices, costs) for devices in (10, 100, 1000)}, rounds=1)
    for devices, found in tables.items():
        for one in found:
            sys.stdout.write(
                f"{devices:5} devices, {calls} calls, {one.station:8} {one.full:5.0%} full,"
                f" p99 of the wait {one.wait_p99:.3f} s, {one.left} left\n"
            )
    assert not any(one.left > 50 for one in tables[10])
    assert tables[1000][0].left > 50
    assert (tables[100][0].left > 50) is bool(calls)
