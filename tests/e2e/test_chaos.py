"""Random operations with kills at random moments: whatever was admitted ends once, is shown once and costs what it gave.

CI runs a short form; `make chaos` does three thousand operations with some fifty kills, in 10 to 20 minutes. The seed is printed: EASEL_TEST_SEED repeats a run.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from tests.e2e.chaos import ChaosRun, stand_in
from tests.e2e.service import Service

pytestmark = pytest.mark.slow


async def _run(folder: Path, seed: int, *, operations: int, kills: float, people: int) -> None:
    print(f"seed {seed}")  # noqa: T201 - to run it again
    async with stand_in().serve() as telegram:
        service = Service(folder)
        storm = ChaosRun(service, telegram, seed, people)
        service.env.update(storm.environment())
        await asyncio.to_thread(service.start)
        try:
            await storm.blow(operations, kills)
            storm.check()
        except BaseException:
            # What went wrong is told, not how the service ends after it.
            await asyncio.to_thread(service.kill)
            raise
        finally:
            print(dict(storm.done))  # noqa: T201 - what a long run has done
            await asyncio.to_thread(service.end)


def _seed(fixed: int | None = None) -> int:
    asked = os.environ.get("EASEL_TEST_SEED")
    return int(asked) if asked else random.SystemRandom().randrange(2**32) if fixed is None else fixed


@pytest.mark.timeout(400)
async def test_random_operations_and_kills(tmp_path: Path) -> None:
    await _run(tmp_path, _seed(5), operations=20, kills=0.05, people=8)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
async def test_random_operations_and_kills_for_long(tmp_path: Path) -> None:
    await _run(tmp_path, _seed(), operations=3_000, kills=0.015, people=64)
