"""`easel migrate`: bring the database to this version, as `easel serve` does at its start."""

from __future__ import annotations

import argparse
import asyncio

from adapters.cli import environment
from adapters.cli.output import echo
from bot.storage.database import Database


def main(_args: argparse.Namespace) -> int:
    """Apply the missing migrations. Returns 0; raises Refusal."""
    asyncio.run(_main())
    return 0


async def _main() -> None:
    path = environment.settings().data_dir / environment.DATABASE
    async with await Database.open(path) as db:
        echo("cli.migrate.done", path=str(path), version=db.version)
