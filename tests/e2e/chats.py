"""One Easel on each chat platform, by its real client and stand-in, for tests that do the same on all of them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from adapters.telegram.rate_limit import RateLimiter
from tests.e2e.discord.harness import DiscordHarness
from tests.e2e.telegram.harness import GAP, TelegramHarness
from tests.fakes.discord import strict
from tests.fakes.engine import FakeEngine
from tests.fakes.telegram import TelegramStandIn
from tests.fakes.telegram_limits import Flood

QUOTA = 1000
PER_MINUTE = 1000


@contextlib.asynccontextmanager
async def on_discord(folder: Path, engine: FakeEngine) -> AsyncIterator[DiscordHarness]:
    """Run an Easel on Discord; nothing may be sent that Discord would refuse."""
    async with strict() as discord:
        await engine.start()
        bot = DiscordHarness(folder, discord, engine, quota=QUOTA)
        await bot.start()
        try:
            yield bot
        finally:
            await bot.stop()
            await engine.aclose()


@contextlib.asynccontextmanager
async def on_telegram(folder: Path, engine: FakeEngine) -> AsyncIterator[TelegramHarness]:
    """Run an Easel on Telegram, with shorter pauses and more messages a minute in a group; nothing may be sent that
    doesn't fit its specification.
    """
    async with TelegramStandIn(flood=Flood(gap=GAP, per_minute=PER_MINUTE)).serve() as telegram:
        await engine.start()
        bot = TelegramHarness(folder, telegram, engine, quota=QUOTA)
        bot.rate_limiter = RateLimiter(gap=GAP * 2, second=GAP * 2, per_minute=PER_MINUTE)
        await bot.start()
        try:
            yield bot
        finally:
            await bot.stop()
            await engine.aclose()
        assert telegram.problems == []
