"""Easel in this process, without a page, for benchmarks."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from adapters.cli.environment import AppSettings
from adapters.cli.wiring import Easel, opened
from bot.core.messages import EventRef
from bot.core.people import Actor, Place
from bot.core.requests import DrawForm
from bot.settings import Settings
from engine.contract import Engine, EngineConfig
from engine.host.process_engine import ProcessEngine
from tests.fakes.engine import FakeEngine

OWNER = Actor("web", "bench", is_owner=True)
HERE = Place("web", None, "page")

_events = itertools.count()


def fake(_config: EngineConfig) -> Engine:
    """An engine that draws at once."""
    engine = FakeEngine()
    # A list of every recipe would look like a leak.
    engine.painted = deque(maxlen=1)
    return engine


def stuck(_config: EngineConfig) -> Engine:
    """An engine that never ends its first step, so that only the measured code runs."""
    return FakeEngine(pause=asyncio.Event().wait)


@asynccontextmanager
async def running_easel(
    folder: Path, make_engine: Callable[[EngineConfig], Engine] = ProcessEngine
) -> AsyncIterator[Easel]:
    """Everything but the page, warm."""
    settings = AppSettings(Settings(_env_file=None, data_dir=folder))
    async with opened(settings, make_engine) as easel:
        async with asyncio.timeout(120):
            while await easel.studio.problems():  # noqa: ASYNC110 - health has no event
                await asyncio.sleep(0.05)
        yield easel


async def ask(easel: Easel, prompt: str = "a red apple", **form: Any) -> int:
    """Ask for pictures; returns the job's id."""
    ref = EventRef(f"bench:{next(_events)}")
    return (await easel.studio.draw(OWNER, HERE, DrawForm(prompt, **form), ref)).job_id


async def finished(easel: Easel, job_id: int) -> None:
    """Wait until the job's card is final."""
    async for card in easel.studio.watch(OWNER, job_id):
        if card.final:
            return
