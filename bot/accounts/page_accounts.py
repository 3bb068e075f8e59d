"""Accounts that owners let people or programs act as: one that exists, or a new one of the page."""

from __future__ import annotations

import secrets

from bot.core.errors import NotFound
from bot.core.people import Actor, Person
from bot.core.quotas import RuleTerms, Scope
from bot.core.texts import shown
from bot.quotas import changes as rule_changes
from bot.storage import people
from bot.storage.database import Tx


async def find(tx: Tx, typed: str) -> Person:
    """Return the person of an account as an owner types it, such as ``telegram:123``. Raises NotFound."""
    platform, _, user_id = typed.partition(":")
    found = await people.find(tx, platform, user_id)
    if found is None:
        raise NotFound("refusal.person_unknown", person=shown(typed))
    return found


async def add(tx: Tx, kind: str, name: str, terms: RuleTerms | None, *, by: str, now: float) -> Person:
    """Make an account of the page.

    Args:
        tx: A writing transaction.
        kind: What its random user id begins with, such as ``key``.
        name: Its name.
        terms: An owner's rule of its own; None: the usual rules apply.
        by: Who makes it, as in the audit log.
        now: Unix seconds.
    """
    account = Actor("web", f"{kind}-{secrets.token_hex(6)}", name)
    person = await people.remember(tx, account, now=now)
    if terms is not None:
        scope = Scope("web", None, person=account.user_id)
        await rule_changes.change_rule(tx, scope, terms, by_owner=True, by=by, now=now, action="quota set")
    return person
