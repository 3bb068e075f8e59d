"""A Discord stand-in, and Easels that speak to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from bot.core.access import AccessMode
from tests.e2e.discord.harness import DiscordHarness
from tests.fakes.discord import FakeDiscord, strict
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate

Start = Callable[..., Awaitable[DiscordHarness]]


@pytest.fixture
async def discord() -> AsyncIterator[FakeDiscord]:
    """A Discord that refuses what the real one would, and fails the test for it."""
    async with strict() as one:
        yield one


@pytest.fixture
async def start(tmp_path: Path, discord: FakeDiscord) -> AsyncIterator[Start]:
    """Start an Easel; it is ended with the test."""
    started: list[DiscordHarness] = []

    async def begin(
        gate: StepGate | None = None, *, quota: int = 50, access: AccessMode = AccessMode.OPEN
    ) -> DiscordHarness:
        engine = FakeEngine() if gate is None else FakeEngine(pause=gate)
        await engine.start()
        bot = DiscordHarness(tmp_path, discord, engine, quota=quota, access=access)
        await bot.start()
        started.append(bot)
        return bot

    yield begin
    for bot in started:
        await bot.stop()
        await bot.engine.aclose()
