"""Quota rules: set, found for one request, listed and taken away."""

from __future__ import annotations

import json
import sqlite3
from functools import lru_cache

import aiosqlite

from bot.core.people import Actor
from bot.core.quotas import QuotaRule, RuleTerms, Scope
from bot.quotas.rules import dump_terms, load_terms

_COLUMNS = "id, platform, place, channel, role, person, terms, by_owner"
# The same words as in the unique index policies_once, so that it is used.
_KEY = (
    "by_owner = ? AND coalesce(platform, '') = ? AND coalesce(place, '') = ?"
    " AND coalesce(channel, '') = ? AND coalesce(role, '') = ? AND coalesce(person, '') = ?"
)
_NEAR = "by_owner IN (0, 1) AND coalesce(platform, '') IN ('', ?) AND coalesce(place, '') IN ('', ?)"


async def put(
    tx: aiosqlite.Connection, scope: Scope, terms: RuleTerms, *, by_owner: bool, set_by: str, now: float
) -> None:
    """Set the rule of a scope, in the place of the one that there is.

    Args:
        tx: A writing transaction.
        scope: Whom it is for; ``place`` is the guild's id, ``person`` the platform's user id.
        terms: What it says.
        by_owner: An operator's rule, or one of the place's own.
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
            json.dumps(dump_terms(terms)),
            set_by,
            now,
        ),
    )


async def get(tx: aiosqlite.Connection, scope: Scope, *, by_owner: bool) -> QuotaRule | None:
    """Return the rule of exactly this scope, or None."""
    rows = await tx.execute_fetchall(
        f"SELECT {_COLUMNS} FROM policies WHERE {_KEY}",  # noqa: S608 - constants
        _key(scope, by_owner=by_owner),
    )
    return next((_policy(row) for row in rows), None)


async def remove(tx: aiosqlite.Connection, scope: Scope, *, by_owner: bool) -> QuotaRule | None:
    """Take the rule of exactly this scope away; returns it, or None when there was none."""
    rows = await tx.execute_fetchall(
        f"DELETE FROM policies WHERE {_KEY} RETURNING {_COLUMNS}",  # noqa: S608 - constants
        _key(scope, by_owner=by_owner),
    )
    return next((_policy(row) for row in rows), None)


async def concerning(tx: aiosqlite.Connection, platform: str, place: str | None) -> tuple[QuotaRule, ...]:
    """Return all rules that may bind anybody on this platform and, where a guild's id is given, in that place."""
    rows = await tx.execute_fetchall(
        f"SELECT {_COLUMNS} FROM policies WHERE {_NEAR} ORDER BY id",  # noqa: S608 - constants
        (platform, place or ""),
    )
    return tuple(_policy(row) for row in rows)


async def for_one(
    tx: aiosqlite.Connection, actor: Actor, place: str | None, person_id: int | None
) -> tuple[QuotaRule, ...]:
    """Return the rules that may bind somebody: those of others' roles and for other people are left out.

    Args:
        tx: A transaction.
        actor: The account that acts, with its roles.
        place: The guild's id.
        person_id: Whose account it is; rules for any of their accounts on this platform are theirs. None: not known.
    """
    roles = ", ".join("?" * len(actor.roles))
    rows = await tx.execute_fetchall(
        f"SELECT {_COLUMNS} FROM policies WHERE {_NEAR} AND (role IS NULL OR role IN ({roles}))"  # noqa: S608 - constants
        " AND (person IS NULL OR person = ?"
        " OR person IN (SELECT user_id FROM accounts WHERE person_id = ? AND platform = ?)) ORDER BY id",
        (actor.platform, place or "", *actor.roles, actor.user_id, person_id, actor.platform),
    )
    return tuple(_policy(row) for row in rows)


async def all_rules(tx: aiosqlite.Connection) -> tuple[QuotaRule, ...]:
    """Return every rule: the operators' first, each kind in the order in which it was made."""
    rows = await tx.execute_fetchall(
        f"SELECT {_COLUMNS} FROM policies ORDER BY by_owner DESC, id"  # noqa: S608 - constants
    )
    return tuple(_policy(row) for row in rows)


def _key(scope: Scope, *, by_owner: bool) -> tuple[int, str, str, str, str, str]:
    parts = (scope.platform, scope.place, scope.channel, scope.role, scope.person)
    platform, place, channel, role, person = (part or "" for part in parts)
    return int(by_owner), platform, place, channel, role, person


def _policy(row: sqlite3.Row) -> QuotaRule:
    return QuotaRule(
        id=row[0],
        scope=Scope(platform=row[1], place=row[2], channel=row[3], role=row[4], person=row[5]),
        terms=_terms(row[6]),
        by_owner=bool(row[7]),
    )


@lru_cache(maxsize=1024)
def _terms(text: str) -> RuleTerms:
    # A place may have hundreds of rules for its roles, read at each request, and few of them differ.
    return load_terms(json.loads(text))
