"""Long runs that look for leaks: `make soak`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.house import ask, finished, house
from tests.bench.test_speed import worker

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]


def test_the_service_over_twenty_thousand_jobs() -> None:
    found = worker("tests.bench.memory", 20_000)
    print(found)  # noqa: T201 - what `make soak` is for
    assert found["after"] < found["working"] * 1.03


async def test_the_engine_over_five_hundred_pictures(tmp_path: Path) -> None:
    async with house(tmp_path) as easel:
        sizes = []
        for n in range(64):
            await finished(easel, await ask(easel, f"picture number {n}", count="8"))
            sizes.append(easel.studio.engine().memory)
    print([size >> 20 for size in sizes])  # noqa: T201 - what `make soak` is for
    assert max(sizes[-8:]) < max(sizes[8:16]) * 1.05
