"""Long runs that look for leaks: `make soak`."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import pytest

from adapters.cli.benchmark.systems import burst
from engine.contract import EngineConfig, Image
from engine.families.z_image.spec import demo
from engine.host.process_engine import ProcessEngine
from tests.bench.test_speed import worker

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]


def test_the_service_over_twenty_thousand_jobs() -> None:
    # SQLite's two page caches, 2 MB each, are full after some 2,000 jobs.
    found = worker("tests.bench.memory", 17_500, 2_500)
    print(found)  # noqa: T201 - what `make soak` is for
    assert found["after"] < found["working"] * 1.03


async def test_the_engine_over_a_thousand_pictures(tmp_path: Path) -> None:
    """1,000 mixed pictures in one process: memory within 3 % of what it was after the first 50."""
    profile = demo()
    engine = ProcessEngine(EngineConfig("demo", str(tmp_path)))
    await engine.start()
    sizes = []
    try:
        await engine.warm()
        for n in range(20):
            async with aclosing(engine.paint(burst(profile, 50, n).recipes)) as events:
                assert len([e async for e in events if isinstance(e, Image)]) == 50
            sizes.append(engine.state().memory)
    finally:
        await engine.aclose()
    print("MiB after each 50:", [size >> 20 for size in sizes])  # noqa: T201 - what `make soak` is for
    assert max(sizes) < sizes[0] * 1.03
