"""`easel migrate`: bring the database to this version, as `easel serve` does at its start."""

from __future__ import annotations

import argparse
import asyncio

from adapters.cli import surroundings
from adapters.cli.say import say
from bot.store.database import Database


def main(_args: argparse.Namespace) -> int:
    """Apply what is missing. Returns 0; raises Refusal."""
    asyncio.run(_main())
    return 0


async def _main() -> None:
    path = surroundings.settings().data_dir / surroundings.DATABASE
    async with await Database.open(path) as db:
        say("cli.migrate.done", path=str(path), version=db.version)
