"""`easel key create | list | revoke`: API keys. A running service applies changes at once."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

from adapters.cli import environment
from adapters.cli.clock import SystemClock
from adapters.cli.output import echo, language, text, write
from bot.access.claims import refresh_owners
from bot.accounts.service import AccountService
from bot.audit.changes import OPERATOR
from bot.core.people import Actor
from bot.core.sign_in import ApiKey
from bot.storage.database import Database


def main(args: argparse.Namespace) -> int:
    """Create, list or revoke. Returns 0; raises Refusal."""
    asyncio.run(_main(args))
    return 0


async def _main(args: argparse.Namespace) -> None:
    app = environment.load()
    async with await Database.open(app.core.data_dir / environment.DATABASE) as db:
        owners = app.owners()
        await refresh_owners(db, owners)
        keys = AccountService(db, SystemClock(), owners).keys
        operator = Actor("cli", OPERATOR, OPERATOR, is_owner=True, locale=language())
        match args.action:
            case "create":
                made = await keys.create(operator, args.name, quota=" ".join(args.quota), person=args.person)
                echo("cli.key.created", name=made.info.name, account=_account(made.info))
                # Alone on the last line, so that scripts can take it.
                write(made.key, sys.stdout)
            case "revoke":
                echo("cli.key.revoked", name=(await keys.revoke(operator, args.name)).name)
            case _:
                _show(await keys.list_all())


def _show(keys: tuple[ApiKey, ...]) -> None:
    if not keys:
        echo("cli.key.none")
    for key in keys:
        fields: dict[str, str | int | float] = {
            "id": key.id,
            "name": key.name,
            "prefix": key.prefix,
            "account": _account(key),
        }
        made = _day(key.created_at)
        if key.revoked_at is None:
            used = text("cli.key.never") if key.used_at is None else _day(key.used_at)
            echo("cli.key.line", **fields, made=made, used=used)
        else:
            echo("cli.key.revoked_line", **fields, made=made, revoked=_day(key.revoked_at))


def _account(key: ApiKey) -> str:
    return f"{key.platform}:{key.user_id}"


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
