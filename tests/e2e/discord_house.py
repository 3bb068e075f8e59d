"""A whole Easel in this process that speaks to the Discord stand-in by its real client; only the engine is a fake."""

from __future__ import annotations

import asyncio
from pathlib import Path

from prometheus_client import CollectorRegistry

from adapters.cli.clock import SystemClock
from adapters.discord.service import DiscordService, build
from bot.dispatch.service import Dispatch
from bot.model.access import Access
from bot.model.quotas import Limit
from bot.observe.metrics import Metrics
from bot.policy.owners import Owners
from bot.settings import Settings
from bot.store.database import Database
from bot.studio import Studio
from engine.fake import FakeEngine
from tests.fakes.discord import FakeDiscord


class DiscordHouse:
    """One data folder, and the service that works on it now."""

    def __init__(
        self, folder: Path, discord: FakeDiscord, engine: FakeEngine, *, quota: int = 50, access: Access = Access.OPEN
    ) -> None:
        self.folder = folder
        self.discord = discord
        self.engine = engine
        self.settings = Settings(
            _env_file=None,
            data_dir=folder,
            discord_token=discord.token,
            discord_api_url=discord.api_url,
            discord_gateway_url=discord.gateway_url,
            discord_owners="900",
            discord_access=access,
        )
        self._quota = quota
        self._run: asyncio.Task[None] | None = None
        self.service: DiscordService

    async def start(self) -> None:
        """A new process on the same folder, connected."""
        self.db = await Database.open(self.folder / "easel.db")
        pictures = self.folder / "pictures"
        clock = SystemClock()
        owners = Owners({"discord": self.settings.discord_owners})
        access = {"discord": self.settings.discord_access}
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
        self.service = build(self.settings, self.studio)
        await self.dispatch.start()
        await self.dispatch.attach(self.service.name, self.service.surface)
        self._run = asyncio.create_task(self.service.run())
        await self.discord.connected()

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
        assert self._run is not None
        # Nobody waits for answers that are being made; their tasks end with the connection.
        answering = {t for t in asyncio.all_tasks() if t.get_name().startswith(("CommandTree", "discord.py: on_inter"))}
        for other in answering:
            other.cancel()
        if answering:
            await asyncio.wait(answering)
        await self._end()

    async def count(self, table: str) -> int:
        """How many rows there are."""
        return await self._number(f"SELECT count(*) FROM {table}")

    async def charged(self) -> int:
        """How many pictures were paid for."""
        return await self._number("SELECT coalesce(sum(charged), 0) FROM ledger")

    async def reserved(self) -> int:
        """How many pictures are still reserved."""
        return await self._number("SELECT coalesce(sum(reserved), 0) FROM ledger")

    async def states(self) -> list[str]:
        """The jobs' states, oldest first."""
        async with self.db.read() as tx, tx.execute("SELECT state FROM jobs ORDER BY id") as cursor:
            return [str(row[0]) async for row in cursor]

    async def settled(self) -> None:
        """Wait until every job has ended and been shown, and the books agree."""
        end = {"delivered", "cancelled", "failed"}
        async with asyncio.timeout(20):
            while not set(await self.states()) <= end:  # noqa: ASYNC110 - rows tell nobody
                await asyncio.sleep(0.01)
        assert await self.reserved() == 0

    async def _number(self, query: str) -> int:
        async with self.db.read() as tx, tx.execute(query) as cursor:
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
