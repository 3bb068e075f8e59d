"""`easel quota set | show | reset`: the owner's rules. A running service applies them at once."""

from __future__ import annotations

import argparse
import asyncio

from adapters.cli import environment
from adapters.cli.clock import SystemClock
from adapters.cli.output import echo, text
from adapters.cli.parsers import check_ids
from bot.core.errors import NotFound
from bot.core.quotas import QuotaRule, RuleTerms, Scope
from bot.quotas import service
from bot.quotas.rules.terms import format_terms, parse_terms
from bot.storage.database import Database


def main(args: argparse.Namespace) -> int:
    """Change or list the rules. Returns 0; raises Refusal."""
    asyncio.run(_main(args))
    return 0


async def _main(args: argparse.Namespace) -> None:
    settings = environment.settings()
    default = parse_terms(settings.quota)
    async with await Database.open(settings.data_dir / environment.DATABASE) as db:
        if args.action == "show":
            _show(await service.list_rules(db), default)
            return
        check_ids(args.platform, args.place, args.channel, args.role, args.person)
        scope = Scope(args.platform, args.place, channel=args.channel, role=args.role, person=args.person)
        if args.action == "set":
            terms = await service.set_operator_rule(db, SystemClock(), " ".join(args.rule), scope)
            echo("cli.quota.set", rule=format_terms(terms), scope=_words(scope))
            return
        gone = await service.reset_operator_rules(db, SystemClock(), scope)
        if not gone:
            raise NotFound("cli.quota.none", scope=_words(scope))
        for terms in gone:
            echo("cli.quota.reset", rule=format_terms(terms), scope=_words(scope))


def _show(policies: tuple[QuotaRule, ...], default: RuleTerms) -> None:
    # A stored rule for everybody replaces the setting.
    if not any(p.by_owner and p.scope == Scope() and p.terms.limits for p in policies):
        echo("cli.quota.default", rule=format_terms(default))
    for policy in policies:
        key = "cli.quota.rule" if policy.by_owner else "cli.quota.own_rule"
        echo(key, rule=format_terms(policy.terms), scope=_words(policy.scope))


def _words(scope: Scope) -> str:
    names = ("platform", "place", "channel", "role", "person")
    parts = [(name, getattr(scope, name)) for name in names]
    return " ".join(f"{name} {value}" for name, value in parts if value is not None) or text("cli.quota.everybody")
