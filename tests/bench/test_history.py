"""Searching a history of a million pictures."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bot.context import AppContext
from bot.core.people import Actor
from bot.core.quotas import Limit
from bot.history import service as history_service
from bot.history import store as history_rows
from bot.history.queries import parse_query
from bot.storage.database import Database
from tests.bench.large_history import COLLECTOR, fill, megabytes
from tests.bench.test_speed import measured, percentile
from tests.fakes.clock import FakeClock
from tests.fakes.engine import FakeEngine
from tests.unit.bot.conftest import RecordingBacklog

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

PICTURES = int(os.environ.get("EASEL_BENCH_PICTURES", "1000000"))
ROUNDS = 100
LIMIT_SECONDS = 0.050

COLLECTORS = {
    "a word in every second prompt": "portrait",
    "a word in one of twenty": "lighthouse",
    "a word in one of ten thousand": "axolotl",
    "a word that nobody wrote": "zeppelin",
    "two common words": "portrait lighthouse",
    "a common and a rare word": "portrait axolotl",
    "words that exclude each other": "lighthouse model:sd15 size:512x768 seed:1",
    "one Chinese character": "猫",
    "two Chinese characters": "山水",
    "four Chinese characters": "赛博朋克",
    "Chinese and a filter": "霓虹 model:demo after:2024",
    "a day": "portrait before:2023-12",
    "all since a day": "after:2025-06",
    "favourites": "is:favourite",
    "favourites with a word": "is:favourite portrait",
    "a seed": f"seed:{PICTURES // 2 * 7919 % 2**32}",
    "ten words": "portrait lighthouse ka lo mi ter san ru vel no",
}


def test_searching_a_million_pictures(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Each kind of search, for somebody with a fifth of all pictures and for somebody with few (limit: p99 under 50 ms)."""
    with asyncio.Runner() as runner:
        db = runner.run(Database.open(tmp_path / "easel.db"))
        began = time.perf_counter()
        runner.run(fill(db, PICTURES))
        filled = time.perf_counter() - began
        before = megabytes(db.path)
        longest, indexed = runner.run(_index(db))
        print(  # noqa: T201 - for whoever measures
            f"\nfilled in {filled:.0f} s ({before:.0f} MB), indexed in {indexed:.0f} s"
            f" (longest transaction {longest * 1000:.0f} ms; {megabytes(db.path):.0f} MB)"
        )
        ctx = _context(db, tmp_path)
        worst = 0.0
        for who in (COLLECTOR, 77):
            for name, query in COLLECTORS.items():
                seconds = runner.run(_timed(ctx, who, query))
                p99 = percentile(seconds, 99)
                worst = max(worst, p99)
                print(  # noqa: T201 - for whoever measures
                    f"account {who:>2} {name:<32} p50 {percentile(seconds, 50) * 1e3:6.2f} ms  p99 {p99 * 1e3:6.2f} ms"
                )
        actor = Actor("chat", str(COLLECTOR))
        one = parse_query("portrait lighthouse")
        measured(benchmark)(
            lambda: runner.run(history_service.search(ctx, actor, one, before=None, limit=9)),
            rounds=300,
            warmup_rounds=5,
        )
        runner.run(db.close())
    assert worst < LIMIT_SECONDS


async def _index(db: Database) -> tuple[float, float]:
    """Index all; returns the longest transaction and the whole time, in seconds."""
    began, longest, more = time.perf_counter(), 0.0, True
    while more:
        start = time.perf_counter()
        async with db.write() as tx:
            more = await history_rows.index_batch(tx)
        longest = max(longest, time.perf_counter() - start)
    return longest, time.perf_counter() - began


async def _timed(ctx: AppContext, who: int, query: str) -> list[float]:
    actor = Actor("chat", str(who))
    seconds, before = [], None
    for _ in range(ROUNDS):
        start = time.perf_counter()
        page = await history_service.search(ctx, actor, parse_query(query), before=before, limit=9)
        seconds.append(time.perf_counter() - start)
        # Page after page, and from the newest again at the end.
        before = page.entries[-1].job.id if page.older else None
    return seconds


def _context(db: Database, folder: Path) -> AppContext:
    return AppContext(
        db=db,
        backlog=RecordingBacklog(),
        clock=FakeClock(),
        profiles=FakeEngine().profiles,
        pictures=folder,
        default_quota=Limit(None),
    )
