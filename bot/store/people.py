"""People, their accounts on platforms, and the places that they ask in."""

from __future__ import annotations

import aiosqlite

from bot.model.people import Actor, Person, Place


async def remember(tx: aiosqlite.Connection, actor: Actor, *, now: float) -> Person:
    """Return who acts; an account that is seen for the first time gets a person of its own, a new name is kept."""
    person = await find(tx, actor.platform, actor.user_id)
    if person is None:
        rows = await tx.execute_fetchall(
            "INSERT INTO people (name, created_at) VALUES (?, ?) RETURNING id", (actor.name, now)
        )
        person_id = int(next(iter(rows))[0])
        rows = await tx.execute_fetchall(
            "INSERT INTO accounts (person_id, platform, user_id, name, created_at) VALUES (?, ?, ?, ?, ?) RETURNING id",
            (person_id, actor.platform, actor.user_id, actor.name, now),
        )
        return Person(id=person_id, account_id=int(next(iter(rows))[0]), name=actor.name)
    if actor.name and actor.name != person.name:
        await tx.execute_fetchall("UPDATE accounts SET name = ? WHERE id = ?", (actor.name, person.account_id))
        return Person(id=person.id, account_id=person.account_id, name=actor.name)
    return person


async def find(tx: aiosqlite.Connection, platform: str, user_id: str) -> Person | None:
    """Return who has this account, or None."""
    rows = await tx.execute_fetchall(
        "SELECT person_id, id, name FROM accounts WHERE platform = ? AND user_id = ?", (platform, user_id)
    )
    return next((Person(id=row[0], account_id=row[1], name=row[2]) for row in rows), None)


async def remember_place(tx: aiosqlite.Connection, place: Place, *, now: float) -> int | None:
    """Return the id of the server or group, kept from now on; None where there is none (direct messages, the page)."""
    if place.guild is None:
        return None
    rows = await tx.execute_fetchall(
        "INSERT INTO places (platform, guild, name, created_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (platform, guild) DO UPDATE SET name = coalesce(nullif(excluded.name, ''), name) RETURNING id",
        (place.platform, place.guild, place.name, now),
    )
    return int(next(iter(rows))[0])


async def find_place(tx: aiosqlite.Connection, place: Place) -> int | None:
    """Return the id of the server or group; None where there is none or nothing was asked for yet."""
    rows = await tx.execute_fetchall(
        "SELECT id FROM places WHERE platform = ? AND guild = ?", (place.platform, place.guild)
    )
    return next((int(row[0]) for row in rows), None)
