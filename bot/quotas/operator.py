"""What operators do from the command line, beside the running service: ``easel quota set | show | reset``."""

from __future__ import annotations

from bot.core.errors import BadInput
from bot.core.ports import Clock
from bot.core.quotas import QuotaRule, RuleTerms, Scope
from bot.quotas import rules
from bot.quotas.changes import rule_change
from bot.quotas.store import rules as rule_rows
from bot.storage.database import Transactions

OPERATOR = "operator"
"""Who is written down as having done it."""


async def set_quota(db: Transactions, clock: Clock, rule: str, scope: Scope) -> RuleTerms:
    """Set the owner's rule for a scope, a ceiling for what admins of places may set; returns it as understood.

    Raises:
        BadInput: The rule can't be read, or the scope is incomplete.
        Unavailable: The database can't be written.
    """
    terms = rules.parse_terms(rule)
    _check(scope)
    async with db.write() as tx:
        await rule_change(tx, scope, terms, by_owner=True, by=OPERATOR, now=clock.now(), action="quota set")
    return terms


async def show_quotas(db: Transactions) -> tuple[QuotaRule, ...]:
    """Return all rules: the owner's first, then those of places."""
    async with db.read() as tx:
        return await rule_rows.all_rules(tx)


async def reset_quota(db: Transactions, clock: Clock, scope: Scope) -> tuple[RuleTerms, ...]:
    """Take the rules of exactly this scope away, the owner's and the place's own; returns those that there were.

    Raises BadInput and Unavailable.
    """
    _check(scope)
    async with db.write() as tx:
        gone = [
            await rule_change(tx, scope, None, by_owner=by_owner, by=OPERATOR, now=clock.now(), action="quota reset")
            for by_owner in (True, False)
        ]
    return tuple(terms for terms in gone if terms is not None)


def _check(scope: Scope) -> None:
    # Ids of places and people mean nothing without their platform, and roles and channels nothing without their place.
    if scope.platform is None and (scope.place is not None or scope.person is not None):
        raise BadInput("refusal.quota.scope_platform")
    if (scope.role is not None or scope.channel is not None) and (scope.platform is None or scope.place is None):
        raise BadInput("refusal.quota.scope_place")
