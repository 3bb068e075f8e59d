"""Easel in this process with the real Telegram client, connected to the stand-in; the engine is a fake."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from adapters.telegram.client import PollingOptions
from adapters.telegram.rate_limit import RateLimiter
from adapters.telegram.service import TelegramService
from adapters.telegram.settings import TelegramSettings
from bot.core.access import AccessMode
from bot.core.waits import ExponentialBackoff
from bot.settings import Settings
from tests.e2e.harness import OWNER, PlatformHarness
from tests.fakes.engine import FakeEngine
from tests.fakes.telegram import TelegramStandIn

GAP = 0.02
"""Seconds between two messages that the stand-in requires; the adapter waits twice as long."""
SHORT = partial(ExponentialBackoff, 0.05, 0.5)


class TelegramHarness(PlatformHarness):
    """A data folder and the service that runs on it, connected to the Telegram stand-in."""

    def __init__(
        self,
        folder: Path,
        telegram: TelegramStandIn,
        engine: FakeEngine,
        *,
        quota: int = 50,
        access: AccessMode = AccessMode.OPEN,
    ) -> None:
        super().__init__(folder, engine, "telegram", quota=quota, access=access)
        self.telegram = telegram
        self.core = Settings(_env_file=None)
        self.settings = TelegramSettings(
            _env_file=None, token=telegram.token, api_url=telegram.url, owners=OWNER, access=access
        )
        self.rate_limiter = RateLimiter(gap=GAP * 2, second=GAP * 2)
        self.options = PollingOptions(poll=20, unreachable=SHORT, refused=SHORT, failing=SHORT)

    async def start(self) -> None:
        """Open the folder and connect, as a new process does."""
        await self.open()
        self.service = TelegramService(self.settings, self.core, self.studio, self.rate_limiter, self.options)
        await self.service.start()
        await self.connect(self.service)

    async def ended(self) -> None:
        """Wait until the platform's client ends by itself."""
        assert self._run is not None
        await asyncio.wait_for(asyncio.shield(self._run), 30)

    async def settled(self) -> None:
        """Wait until the database says that every message was sent."""
        async with asyncio.timeout(30):
            open_rows = "SELECT count(*) FROM messages WHERE state IN ('wanted', 'sending')"
            while await self.number(open_rows):  # noqa: ASYNC110 - rows tell nobody that they change
                await asyncio.sleep(0.01)
