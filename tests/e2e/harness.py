"""Easel in this process without its platform: real rows, real dispatch and the fake engine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol

from prometheus_client import CollectorRegistry

from bot.core.access import AccessMode, Owners
from bot.core.ports import Surface
from tests.fakes.empty_database import open_database
from tests.fakes.engine import FakeEngine
from tests.fakes.service import build_service

OWNER = "900"
"""The owner's id on every platform."""

LINK = ""
"""Address of the page for others; empty where it has none."""


class Platform(Protocol):
    """The part of an adapter that a harness needs: a surface for sending and a client to run."""

    @property
    def name(self) -> str:
        """The platform's name in the database."""

    @property
    def surface(self) -> Surface:
        """The surface that delivery sends with."""

    async def run(self) -> None:
        """Run the client until it is cancelled."""


class PlatformHarness:
    """A data folder and the service that runs on it; it can be stopped, killed and started again.

    Args:
        folder: The data folder.
        engine: The engine.
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
        self.db = await open_database(self.folder / "easel.db")
        self.dispatch, self.studio = build_service(
            self.db,
            self.folder,
            self.engine,
            CollectorRegistry(),
            quota=self._quota,
            owners=self._owners,
            access=self._access,
            link=LINK,
        )

    async def connect(self, platform: Platform) -> None:
        """Start dispatch and the platform's client."""
        await self.dispatch.start(
            self.studio.picture_fetcher(self.dispatch.surfaces), self.studio.draft_writer(self.dispatch.surfaces)
        )
        await self.dispatch.attach(platform.name, platform.surface)
        self._run = asyncio.create_task(platform.run())

    async def stop(self) -> None:
        """Stop the service, as SIGTERM does."""
        await self.dispatch.stop()
        await self._end()

    async def kill(self) -> None:
        """End the service as ``kill -9`` does: nothing is cleaned up."""
        task = self.dispatch._task
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            self.dispatch._task = None
        await self._end()

    async def count(self, table: str) -> int:
        """Return the number of rows of a table."""
        return await self.number(f"SELECT count(*) FROM {table}")

    async def charged(self) -> int:
        """Return the number of charged pictures."""
        return await self.number("SELECT coalesce(sum(charged), 0) FROM ledger")

    async def reserved(self) -> int:
        """Return the number of reserved pictures."""
        return await self.number("SELECT coalesce(sum(reserved), 0) FROM ledger")

    async def number(self, query: str) -> int:
        """Return the one number that a query selects."""
        async with self.db.read() as tx:
            return int(next(iter(await tx.execute_fetchall(query)))[0])

    async def _end(self) -> None:
        assert self._run is not None
        self._run.cancel()
        await asyncio.wait([self._run])
        if not self._run.cancelled():
            self._run.result()
        await self.db.close()
