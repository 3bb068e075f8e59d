"""Easel in this process with the real Discord client, connected to the stand-in; the engine is a fake."""

from __future__ import annotations

import asyncio
from pathlib import Path

from adapters.discord.service import DiscordService, build
from adapters.discord.settings import DiscordSettings
from bot.core.access import AccessMode
from bot.settings import Settings
from tests.e2e.harness import OWNER, PlatformHarness
from tests.fakes.discord import FakeDiscord
from tests.fakes.engine import FakeEngine


class DiscordHarness(PlatformHarness):
    """A data folder and the service that runs on it, connected to the Discord stand-in."""

    def __init__(
        self,
        folder: Path,
        discord: FakeDiscord,
        engine: FakeEngine,
        *,
        quota: int = 50,
        access: AccessMode = AccessMode.OPEN,
    ) -> None:
        super().__init__(folder, engine, "discord", quota=quota, access=access)
        self.discord = discord
        self.core = Settings(_env_file=None, data_dir=folder)
        self.settings = DiscordSettings(
            _env_file=None,
            token=discord.token,
            api_url=discord.api_url,
            gateway_url=discord.gateway_url,
            owners=OWNER,
            access=access,
        )
        self.service: DiscordService

    async def start(self) -> None:
        """Open the folder and connect, as a new process does."""
        await self.open()
        self.service = build(self.settings, self.core, self.studio)
        await self.connect(self.service)
        await self.discord.connected()

    async def states(self) -> list[str]:
        """Return the jobs' states, oldest first."""
        async with self.db.read() as tx, tx.execute("SELECT state FROM jobs ORDER BY id") as cursor:
            return [str(row[0]) async for row in cursor]

    async def settled(self) -> None:
        """Wait until every job has ended and is shown; nothing may stay reserved."""
        end = {"delivered", "cancelled", "failed"}
        async with asyncio.timeout(20):
            while not set(await self.states()) <= end:  # noqa: ASYNC110 - rows tell nobody
                await asyncio.sleep(0.01)
        assert await self.reserved() == 0

    async def kill(self) -> None:
        """End the service as ``kill -9`` does: nothing is cleaned up."""
        # discord.py awaits no handlers of interactions; their tasks end with the connection.
        answering = {t for t in asyncio.all_tasks() if t.get_name().startswith(("CommandTree", "discord.py: on_inter"))}
        for other in answering:
            other.cancel()
        if answering:
            await asyncio.wait(answering)
        await super().kill()
