"""A whole Easel in this process, up to the platform: real rows, real dispatch, and an engine that needs no device."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol

from prometheus_client import CollectorRegistry

from adapters.cli.clock import SystemClock
from bot.core.access import AccessMode, Owners
from bot.core.ports import Surface
from bot.core.quotas import Limit
from bot.dispatch.service import Dispatch
from bot.observability.metrics import Metrics
from bot.storage.database import Database
from bot.studio import Studio
from tests.fakes.engine import FakeEngine

OWNER = "900"
"""The owner's id on every platform."""


class Platform(Protocol):
    """What an adapter builds: a surface to send by, and a client that runs."""

    @property
    def name(self) -> str:
        """As the rows call it."""

    @property
    def surface(self) -> Surface:
        """What delivery sends by."""

    async def run(self) -> None:
        """Speak to the platform until cancelled."""


class PlatformHarness:
    """One data folder, and the service that works on it now.

    Args:
        folder: The data folder.
        engine: What draws.
        platform: Name of the platform.
        quota: Pictures a day for everybody.
        access: Who may come in.
    """

    def __init__(self, folder: Path, engine: FakeEngine, platform: str, *, quota: int, access: AccessMode) -> None:
        self.folder = folder
        self.engine = engine
        self._owners = Owners({platform: (OWNER,)})
        self._access = {platform: access}
        self._quota = quota
        self._run: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the folder as a new process does."""
        self.db = await Database.open(self.folder / "easel.db")
        pictures, clock = self.folder / "pictures", SystemClock()
        self.dispatch = Dispatch(
            self.db,
            pictures,
            self.engine,
            clock=clock,
            metrics=Metrics(CollectorRegistry()),
            owners=self._owners,
            access=self._access,
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
            owners=self._owners,
            access=self._access,
        )

    async def connect(self, platform: Platform) -> None:
        """Start what works on the folder, and the platform's client."""
        await self.dispatch.start()
        await self.dispatch.attach(platform.name, platform.surface)
        self._run = asyncio.create_task(platform.run())

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

    async def count(self, table: str) -> int:
        """How many rows there are."""
        return await self.number(f"SELECT count(*) FROM {table}")

    async def charged(self) -> int:
        """How many pictures were paid for."""
        return await self.number("SELECT coalesce(sum(charged), 0) FROM ledger")

    async def reserved(self) -> int:
        """How many pictures are still reserved."""
        return await self.number("SELECT coalesce(sum(reserved), 0) FROM ledger")

    async def number(self, query: str) -> int:
        """The one number that a query gives."""
        async with self.db.read() as tx:
            return int(next(iter(await tx.execute_fetchall(query)))[0])

    async def _end(self) -> None:
        assert self._run is not None
        self._run.cancel()
        await asyncio.wait([self._run])
        if not self._run.cancelled():
            self._run.result()
        await self.db.close()
