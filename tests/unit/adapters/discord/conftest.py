"""The real discord.py client against the stand-in, with a Studio that a test scripts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from adapters.discord.service import DiscordService, build
from adapters.discord.settings import DiscordSettings
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
    """A Studio whose answers a test sets."""
    return Scripted()


@pytest.fixture
def settings(fake: FakeDiscord) -> DiscordSettings:
    """Settings that lead to the stand-in."""
    return DiscordSettings(_env_file=None, token=fake.token, api_url=fake.api_url, gateway_url=fake.gateway_url)


@pytest.fixture
def core(tmp_path: Path) -> Settings:
    """The settings that no single platform owns."""
    return Settings(_env_file=None, data_dir=tmp_path)


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
async def service(
    fake: FakeDiscord, scripted: Scripted, settings: DiscordSettings, core: Settings
) -> AsyncIterator[DiscordService]:
    """A connected service whose commands are offered."""
    one = build(settings, core, scripted.studio)
    async with running(one):
        await fake.connected()
        yield one
