"""`easel claim`: prints a new code that makes its sender an owner. The service may be running."""

from __future__ import annotations

import argparse
import asyncio

from adapters.cli import environment
from adapters.cli.clock import SystemClock
from adapters.cli.output import echo
from bot.access import claims
from bot.access.store.codes import CODE_SECONDS, CODE_TRIES
from bot.storage.database import Database


def main(_args: argparse.Namespace) -> int:
    """Print a code; the previous one expires. Returns 0; raises Refusal."""
    asyncio.run(_main())
    return 0


async def _main() -> None:
    path = environment.settings().data_dir / environment.DATABASE
    async with await Database.open(path) as db:
        await offer(db)


async def offer(db: Database) -> None:
    """Create a claim code and print it on stdout alone."""
    code = await claims.claim_code(db, SystemClock())
    echo("cli.claim", code=code, minutes=round(CODE_SECONDS / 60), tries=CODE_TRIES)
