"""A running bot with one chat platform that works like Telegram."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from bot.core.ports import Abilities
from tests.fakes.engine import FakeEngine
from tests.fakes.surface import ABLE, FakeSurface
from tests.flow.harness import Bot

Make = Callable[..., Awaitable[Bot]]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Start a bot; it is ended with the test."""
    started: list[Bot] = []

    async def build(
        able: Abilities = ABLE, engine: FakeEngine | None = None, devices: Mapping[str, FakeEngine] | None = None
    ) -> Bot:
        engine = engine or (next(iter(devices.values())) if devices else FakeEngine())
        bot = Bot(tmp_path, engine, {"chat": FakeSurface(able=able)}, devices)
        await bot.devices.start()
        await bot.start()
        started.append(bot)
        return bot

    yield build
    for bot in started:
        await bot.kill()
        await bot.devices.aclose()
