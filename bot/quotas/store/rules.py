"""SQL of quota rules."""

from __future__ import annotations

import json
from functools import lru_cache

from bot.core.people import Actor
from bot.core.quotas import QuotaRule, RuleTerms, Scope
from bot.quotas.rules.terms import dump_terms, load_terms
from bot.storage.database import Tx
from bot.storage.sql import Converter, RowMapper


def _dumped(terms: RuleTerms) -> str:
    return json.dumps(dump_terms(terms))


@lru_cache(maxsize=1024)
def _terms(text: str) -> RuleTerms:
    # Every request reads the rules of a place. There may be hundreds for its roles, and few of them differ.
    return load_terms(json.loads(text))


_RULES = RowMapper(QuotaRule, "policies", converters={"terms": Converter(_terms, _dumped)})
# The expressions of the unique index policies_once, word for word, so that SQLite uses it.
_KEY = (
    "by_owner = ? AND coalesce(platform, '') = ? AND coalesce(place, '') = ?"
    " AND coalesce(channel, '') = ? AND coalesce(role, '') = ? AND coalesce(person, '') = ?"
)
_NEAR = "by_owner IN (0, 1) AND coalesce(platform, '') IN ('', ?) AND coalesce(place, '') IN ('', ?)"


async def put_rule(tx: Tx, scope: Scope, terms: RuleTerms, *, by_owner: bool, set_by: str, now: float) -> None:
    """Set the rule of a scope; an existing one is replaced.

    Args:
        tx: A writing transaction.
        scope: Whom it is for; ``place`` is the guild's id, ``person`` the platform's user id.
        terms: Its terms.
        by_owner: An owner's rule, or one of the place's own.
        set_by: ``platform:user id``, or ``operator``.
        now: Unix seconds.
    """
    await tx.execute_fetchall(
        "INSERT INTO policies (by_owner, platform, place, channel, role, person, terms, set_by, set_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (by_owner, coalesce(platform, ''), coalesce(place, ''),"
        " coalesce(channel, ''), coalesce(role, ''), coalesce(person, ''))"
        " DO UPDATE SET terms = excluded.terms, set_by = excluded.set_by, set_at = excluded.set_at",
        (
            int(by_owner),
            scope.platform,
            scope.place,
            scope.channel,
            scope.role,
            scope.person,
            _dumped(terms),
            set_by,
            now,
        ),
    )


async def get_rule(tx: Tx, scope: Scope, *, by_owner: bool) -> QuotaRule | None:
    """Return the rule of exactly this scope; None if there is none."""
    return await _RULES.select_one(tx, f"WHERE {_KEY}", _key(scope, by_owner=by_owner))


async def remove_rule(tx: Tx, scope: Scope, *, by_owner: bool) -> QuotaRule | None:
    """Delete the rule of exactly this scope; returns it, or None if there was none."""
    return await _RULES.fetch_one(
        tx,
        f"DELETE FROM policies WHERE {_KEY} RETURNING {_RULES.columns}",  # noqa: S608 - constants
        _key(scope, by_owner=by_owner),
    )


async def rules_of_place(tx: Tx, platform: str, place: str | None) -> tuple[QuotaRule, ...]:
    """Return the rules that may apply to anybody on this platform and, if a guild's id is given, in that place."""
    return await _RULES.select(tx, f"WHERE {_NEAR} ORDER BY id", (platform, place or ""))


async def rules_of_person(tx: Tx, actor: Actor, place: str | None, person_id: int | None) -> tuple[QuotaRule, ...]:
    """Return the rules that may apply to a person. Rules for other roles and other people are left out.

    Args:
        tx: A transaction.
        actor: The account that acts, with its roles.
        place: The guild's id.
        person_id: The person; rules for any of their accounts on this platform apply to them. None: not known.
    """
    roles = ", ".join("?" * len(actor.roles))
    return await _RULES.select(
        tx,
        f"WHERE {_NEAR} AND (role IS NULL OR role IN ({roles}))"  # noqa: S608 - question marks
        " AND (person IS NULL OR person = ?"
        " OR person IN (SELECT user_id FROM accounts WHERE person_id = ? AND platform = ?)) ORDER BY id",
        (actor.platform, place or "", *actor.roles, actor.user_id, person_id, actor.platform),
    )


async def all_rules(tx: Tx) -> tuple[QuotaRule, ...]:
    """Return every rule: the owner's first, then those of places, each in the order of creation."""
    return await _RULES.select(tx, "ORDER BY by_owner DESC, id")


def _key(scope: Scope, *, by_owner: bool) -> tuple[int, str, str, str, str, str]:
    parts = (scope.platform, scope.place, scope.channel, scope.role, scope.person)
    platform, place, channel, role, person = (part or "" for part in parts)
    return int(by_owner), platform, place, channel, role, person
