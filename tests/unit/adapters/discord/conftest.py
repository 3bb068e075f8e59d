"""The real discord.py client against the stand-in, with a Studio that a test scripts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from adapters.discord.service import DiscordService, build
from bot.settings import Settings
from tests.fakes.discord import FakeDiscord, endpoints, strict
from tests.unit.adapters.discord.scripted import Scripted


@pytest.fixture(autouse=True)
def _endpoints() -> Iterator[None]:
    with endpoints():
        yield


@pytest.fixture
async def fake() -> AsyncIterator[FakeDiscord]:
    """A Discord that refuses what the real one would, and fails the test for it."""
    async with strict() as one:
        yield one


@pytest.fixture
def scripted() -> Scripted:
    """What Studio says."""
    return Scripted()


@pytest.fixture
def settings(fake: FakeDiscord, tmp_path: Path) -> Settings:
    """Settings that lead to the stand-in."""
    return Settings(
        _env_file=None,
        data_dir=tmp_path,
        discord_token=fake.token,
        discord_api_url=fake.api_url,
        discord_gateway_url=fake.gateway_url,
    )


@contextlib.asynccontextmanager
async def running(service: DiscordService) -> AsyncIterator[asyncio.Task[None]]:
    """Run a service while the block lasts, then end it as the composition root does."""
    task = asyncio.create_task(service.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


@pytest.fixture
async def service(fake: FakeDiscord, scripted: Scripted, settings: Settings) -> AsyncIterator[DiscordService]:
    """A connected service whose commands are offered."""
    one = build(settings, scripted.studio)
    async with running(one):
        await fake.connected()
        yield one
