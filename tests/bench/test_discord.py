"""How long people on Discord wait for the first answer when many type /draw at one moment and the engine is busy."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.bench.test_speed import measured, percentile
from tests.e2e.service import Service
from tests.fakes.discord import strict
from tests.fakes.discord_rest import DEFER

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

PEOPLE = 150
AHEAD = 8
"""Jobs of 4 pictures that the engine has before."""


async def burst(folder: Path) -> tuple[list[float], int]:
    """Seconds from one moment at which everybody asks to each first answer, and how many of these were deferred."""
    async with strict() as discord:
        service = Service(folder, {**discord.env, "EASEL_WEB_PORT": "0"})
        await asyncio.to_thread(service.start, ready=False)
        try:
            await discord.connected(60)
            early = discord.person("Early")
            first = await (await early.draw("a red apple")).answer(60)
            await discord.world.until(lambda: bool(first.attachments), "a warm engine", 120)
            for n in range(AHEAD):
                await (await early.draw(f"a red apple {n}", count=4)).answer()
            people = [discord.person(f"Person {n}") for n in range(PEOPLE)]
            channels = [discord.world.channel(f"channel-{n}") for n in range(10)]
            asked = [
                await one.draw(f"a castle at dawn {n}", channel=channels[n % len(channels)])
                for n, one in enumerate(people)
            ]
            for one in asked:
                await one.acknowledged(60)
            seconds = sorted(one.interaction.acked_after or 0.0 for one in asked)
            deferred = sum(one.interaction.response == DEFER for one in asked)
            for one in asked:
                await one.answer(300)
        finally:
            await asyncio.to_thread(service.end)
    return seconds, deferred


def test_answers_to_a_hundred_and_fifty_at_one_moment(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """The first answer to each of 150 commands of one moment (limit: p99 under 500 ms)."""
    seconds, deferred = measured(benchmark)(lambda: asyncio.run(burst(tmp_path)), rounds=1)
    for percent in (50, 99):
        benchmark.extra_info[f"p{percent}_s"] = round(percentile(seconds, percent), 2)
    benchmark.extra_info["deferred"] = deferred
    sys.stdout.write(f"first answers: {benchmark.extra_info}\n")
    assert percentile(seconds, 99) < 0.5
