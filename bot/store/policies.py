"""Quota rules: set, found for one request, listed and taken away."""

from __future__ import annotations

import sqlite3

import aiosqlite

from bot.model.quotas import Limit, Policy, Scope, Window

_COLUMNS = 'id, platform, place, role, person, pictures, "window", by_owner'
# The same words as in the unique index policies_once, so that it is used.
_KEY = (
    "by_owner = ? AND coalesce(platform, '') = ? AND coalesce(place, '') = ?"
    " AND coalesce(role, '') = ? AND coalesce(person, '') = ?"
)


async def put(
    tx: aiosqlite.Connection, scope: Scope, limit: Limit, *, by_owner: bool, set_by: str, now: float
) -> Limit | None:
    """Set the rule of a scope; returns the one that it replaces.

    Args:
        tx: A writing transaction.
        scope: Whom it is for; ``place`` is the guild's id, ``person`` the platform's user id.
        limit: So many pictures.
        by_owner: An operator's rule, or one of the place's own.
        set_by: ``platform:user id``, or ``operator``.
        now: Unix seconds.
    """
    before = await get(tx, scope, by_owner=by_owner)
    await tx.execute_fetchall(
        'INSERT INTO policies (platform, place, role, person, pictures, "window", by_owner, set_by, set_at)'
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (by_owner, coalesce(platform, ''), coalesce(place, ''), coalesce(role, ''), coalesce(person, ''))"
        ' DO UPDATE SET pictures = excluded.pictures, "window" = excluded."window", set_by = excluded.set_by,'
        " set_at = excluded.set_at",
        (
            scope.platform,
            scope.place,
            scope.role,
            scope.person,
            limit.pictures,
            limit.window.value,
            int(by_owner),
            set_by,
            now,
        ),
    )
    return None if before is None else before.limit


async def get(tx: aiosqlite.Connection, scope: Scope, *, by_owner: bool) -> Policy | None:
    """Return the rule of exactly this scope, or None."""
    rows = await tx.execute_fetchall(
        f"SELECT {_COLUMNS} FROM policies WHERE {_KEY}",  # noqa: S608 - constants
        _key(scope, by_owner=by_owner),
    )
    return next((_policy(row) for row in rows), None)


async def remove(tx: aiosqlite.Connection, scope: Scope, *, by_owner: bool) -> Policy | None:
    """Take the rule of exactly this scope away; returns it, or None when there was none."""
    rows = await tx.execute_fetchall(
        f"DELETE FROM policies WHERE {_KEY} RETURNING {_COLUMNS}",  # noqa: S608 - constants
        _key(scope, by_owner=by_owner),
    )
    return next((_policy(row) for row in rows), None)


async def concerning(tx: aiosqlite.Connection, platform: str, place: str | None) -> tuple[Policy, ...]:
    """Return all rules that may bind somebody on this platform and, where it is given, in this place."""
    rows = await tx.execute_fetchall(
        f"SELECT {_COLUMNS} FROM policies WHERE by_owner IN (0, 1)"  # noqa: S608 - constants
        " AND coalesce(platform, '') IN ('', ?) AND coalesce(place, '') IN ('', ?) ORDER BY id",
        (platform, place or ""),
    )
    return tuple(_policy(row) for row in rows)


async def all_rules(tx: aiosqlite.Connection) -> tuple[Policy, ...]:
    """Return every rule: the operators' first, each kind in the order in which it was made."""
    rows = await tx.execute_fetchall(
        f"SELECT {_COLUMNS} FROM policies ORDER BY by_owner DESC, id"  # noqa: S608 - constants
    )
    return tuple(_policy(row) for row in rows)


def _key(scope: Scope, *, by_owner: bool) -> tuple[int, str, str, str, str]:
    return int(by_owner), scope.platform or "", scope.place or "", scope.role or "", scope.person or ""


def _policy(row: sqlite3.Row) -> Policy:
    return Policy(
        id=row[0],
        scope=Scope(platform=row[1], place=row[2], role=row[3], person=row[4]),
        limit=Limit(row[5], Window(row[6])),
        by_owner=bool(row[7]),
    )
