"""How long many people who ask at one moment wait until they are admitted, and how many commits that takes."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bot.context import AppContext
from bot.core.messages import Address, EventRef
from bot.core.people import Actor, Place
from bot.core.requests import DrawForm
from bot.drawing.admission import draw
from bot.quotas.rules.terms import parse_terms
from bot.storage.database import Database
from engine.families.z_image.spec import demo
from tests.bench.test_speed import measured, percentile
from tests.fakes.clock import FakeClock
from tests.unit.bot.conftest import RecordingBacklog

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

PEOPLE = 500


async def admitted(folder: Path, slower: float) -> tuple[list[float], int]:
    """Seconds until each of PEOPLE is admitted, and the number of commits; each commit takes ``slower`` seconds more."""
    commits = 0
    async with await Database.open(folder / "easel.db") as db:
        commit = db._writer.commit

        async def slow() -> None:
            nonlocal commits
            commits += 1
            if slower:
                await asyncio.sleep(slower)
            await commit()

        db._writer.commit = slow  # type: ignore[method-assign]
        ctx = AppContext(
            db=db,
            backlog=RecordingBacklog(),
            clock=FakeClock(1_800_000_000.0),
            profiles=lambda: (demo(),),
            pictures=folder / "pictures",
            default_quota=parse_terms("50/day"),
        )
        begin = time.perf_counter()

        async def ask(n: int) -> float:
            who = Actor("chat", str(n), f"Person {n}", handle=f"person{n}")
            ref = EventRef(f"burst:{n}", Address("chat", f"alone {n}"))
            await draw(ctx, who, Place("chat", None, f"alone {n}"), DrawForm("an apple"), ref)
            return time.perf_counter() - begin

        return sorted(await asyncio.gather(*(ask(n) for n in range(PEOPLE)))), commits


@pytest.mark.parametrize("slower", [0.0, 0.005])
def test_admission_of_five_hundred_at_one_moment(benchmark: BenchmarkFixture, tmp_path: Path, slower: float) -> None:
    """Transactions that wait share a commit: far fewer than one for each request."""
    seconds, commits = measured(benchmark)(lambda: asyncio.run(admitted(tmp_path, slower)), rounds=1)
    for percent in (50, 99):
        benchmark.extra_info[f"p{percent}_s"] = round(percentile(seconds, percent), 2)
    benchmark.extra_info["commits"] = commits
    sys.stdout.write(f"admitted, a commit {slower * 1000:g} ms slower: {benchmark.extra_info}\n")
    assert commits < PEOPLE / 2
