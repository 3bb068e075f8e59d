"""`easel invite`: a link with which somebody sets up a sign-in to the page. Works while a service runs, too."""

from __future__ import annotations

import argparse
import asyncio
import sys

from adapters.cli import environment
from adapters.cli.clock import SystemClock
from adapters.cli.output import echo, language, write
from bot.access.claims import refresh_owners
from bot.accounts.service import AccountService
from bot.audit.changes import OPERATOR
from bot.core.errors import BadInput
from bot.core.people import Actor
from bot.storage.database import Database


def main(args: argparse.Namespace) -> int:
    """Print a new link. Returns 0; raises Refusal."""
    asyncio.run(_main(args))
    return 0


async def _main(args: argparse.Namespace) -> None:
    app = environment.load()
    link = next((link for one in app.enabled if (link := one.settings.public_link)), "")
    if not link:
        raise BadInput("cli.invite.nowhere")
    async with await Database.open(app.core.data_dir / environment.DATABASE) as db:
        owners = app.owners()
        await refresh_owners(db, owners)
        invitations = AccountService(db, SystemClock(), owners).invitations
        operator = Actor("cli", OPERATOR, OPERATOR, is_owner=True, locale=language())
        token = await invitations.create(
            operator, name=args.name, quota=" ".join(args.quota), person=args.person, days=args.days
        )
    echo("cli.invite.made", days=f"{args.days:g}")
    # Alone on the last line, so that scripts can take it.
    write(f"{link.rstrip('/')}/invite/{token}", sys.stdout)
