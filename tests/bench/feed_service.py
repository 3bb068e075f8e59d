"""A service with its page and the fake engine, in a process of its own: ``python -m tests.bench.feed_service FOLDER PORT``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from adapters.cli.environment import AppSettings
from adapters.cli.wiring import opened
from adapters.web.platform import PLATFORM
from adapters.web.settings import WebSettings
from bot.settings import Settings
from engine.contract import Engine, EngineConfig
from tests.fakes.engine import FakeEngine

STEP_SECONDS = 0.02


def _engine(_config: EngineConfig) -> Engine:
    async def step() -> None:
        await asyncio.sleep(STEP_SECONDS)

    return FakeEngine(pause=step)


async def main(folder: Path, port: int) -> None:
    """Serve until the standard input ends."""
    page = WebSettings(_env_file=None, port=port)
    core = Settings(_env_file=None, data_dir=folder, quota="100000/day")
    async with opened(AppSettings(core, (PLATFORM.configured(page),)), _engine):
        print("ready", flush=True)  # noqa: T201 - the parent waits for it
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
