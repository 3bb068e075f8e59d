"""A whole Easel in this process that speaks to the Telegram stand-in by its real client; only the engine is a fake."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiogram.utils.backoff import BackoffConfig
from prometheus_client import CollectorRegistry

from adapters.cli.clock import SystemClock
from adapters.telegram.pace import Pace
from adapters.telegram.polling import Patience
from adapters.telegram.service import TelegramService
from bot.dispatch.service import Dispatch
from bot.model.access import Access
from bot.model.quotas import Limit
from bot.observe.metrics import Metrics
from bot.policy.owners import Owners
from bot.settings import Settings
from bot.store.database import Database
from bot.studio import Studio
from engine.fake import FakeEngine
from tests.fakes.telegram import TelegramStandIn

GAP = 0.02
"""Seconds between two messages that the stand-in of these tests asks for; the adapter keeps a little more."""
SHORT = BackoffConfig(min_delay=0.05, max_delay=0.5, factor=2.0, jitter=0.001)


class TelegramHouse:
    """One data folder, and the service that works on it now."""

    def __init__(
        self,
        folder: Path,
        telegram: TelegramStandIn,
        engine: FakeEngine,
        *,
        quota: int = 50,
        access: Access = Access.OPEN,
    ) -> None:
        self.folder = folder
        self.telegram = telegram
        self.engine = engine
        self.settings = Settings(
            _env_file=None,
            telegram_token=telegram.token,
            telegram_api_url=telegram.url,
            telegram_owners="900",
            telegram_access=access,
        )
        self.pace = Pace(gap=GAP * 2)
        self.patience = Patience(poll=20, unreachable=SHORT, failing=SHORT, tries=3)
        self._quota = quota
        self._run: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """A new process on the same folder."""
        self.db = await Database.open(self.folder / "easel.db")
        pictures = self.folder / "pictures"
        clock = SystemClock()
        owners = Owners({"telegram": self.settings.telegram_owners})
        access = {"telegram": self.settings.telegram_access}
        self.dispatch = Dispatch(
            self.db,
            pictures,
            self.engine,
            clock=clock,
            metrics=Metrics(CollectorRegistry()),
            owners=owners,
            access=access,
        )
        self.studio = Studio(
            self.db,
            self.engine,
            self.dispatch,
            self.dispatch.live,
            clock=clock,
            pictures=pictures,
            sheets=self.folder / "sheets",
            quota=Limit(self._quota),
            owners=owners,
            access=access,
        )
        self.service = TelegramService(self.settings, self.studio, self.pace, self.patience)
        await self.dispatch.start()
        await self.dispatch.attach(self.service.name, self.service.surface)
        self._run = asyncio.create_task(self.service.run())

    async def stop(self) -> None:
        """End as SIGTERM does."""
        await self.dispatch.stop()
        await self._end()

    async def kill(self) -> None:
        """End as ``kill -9`` does: what is under way stays as it is."""
        task = self.dispatch._task
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            self.dispatch._task = None
        await self._end()

    async def ended(self) -> None:
        """Wait until the platform goes off by itself."""
        assert self._run is not None
        await asyncio.wait_for(asyncio.shield(self._run), 30)

    async def count(self, table: str) -> int:
        """How many rows there are."""
        return await self._number(f"SELECT count(*) FROM {table}")

    async def charged(self) -> int:
        """How many pictures were paid for."""
        return await self._number("SELECT coalesce(sum(charged), 0) FROM ledger")

    async def reserved(self) -> int:
        """How many pictures are still reserved."""
        return await self._number("SELECT coalesce(sum(reserved), 0) FROM ledger")

    async def settled(self) -> None:
        """Wait until it is written down that everything was sent."""
        async with asyncio.timeout(30):
            open_rows = "SELECT count(*) FROM messages WHERE state IN ('wanted', 'sending')"
            while await self._number(open_rows):  # noqa: ASYNC110 - rows tell nobody that they change
                await asyncio.sleep(0.01)

    async def _number(self, sql: str) -> int:
        async with self.db.read() as tx, tx.execute(sql) as cursor:
            row = await cursor.fetchone()
        assert row is not None
        return int(row[0])

    async def _end(self) -> None:
        assert self._run is not None
        self._run.cancel()
        await asyncio.wait([self._run])
        if not self._run.cancelled():
            self._run.result()
        await self.db.close()
