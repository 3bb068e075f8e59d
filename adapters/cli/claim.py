"""`easel claim`: a fresh code that makes whoever sends it to the bot an owner; beside a running service or before it."""

from __future__ import annotations

import argparse
import asyncio

from adapters.cli import environment
from adapters.cli.clock import SystemClock
from adapters.cli.output import echo
from bot.access import claims
from bot.access.store import CODE_SECONDS, CODE_TRIES
from bot.storage.database import Database


def main(_args: argparse.Namespace) -> int:
    """Print a code; the one before is worth nothing any more. Returns 0; raises Refusal."""
    asyncio.run(_main())
    return 0


async def _main() -> None:
    path = environment.settings().data_dir / environment.DATABASE
    async with await Database.open(path) as db:
        await offer(db)


async def offer(db: Database) -> None:
    """Make a claim code and say it on stdout, and nowhere else."""
    code = await claims.claim_code(db, SystemClock())
    echo("cli.claim", code=code, minutes=round(CODE_SECONDS / 60), tries=CODE_TRIES)
