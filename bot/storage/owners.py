"""Who runs this Easel beside those whom the settings name: whoever has claimed the bot."""

from __future__ import annotations

import aiosqlite


async def everybody(tx: aiosqlite.Connection) -> tuple[tuple[str, str], ...]:
    """Return platform and user id of each."""
    rows = await tx.execute_fetchall("SELECT platform, user_id FROM owners")
    return tuple((str(row[0]), str(row[1])) for row in rows)


async def get(tx: aiosqlite.Connection, platform: str, user_id: str) -> tuple[str, str] | None:
    """Return name and language of an owner; None when that account is none."""
    rows = await tx.execute_fetchall(
        "SELECT name, locale FROM owners WHERE platform = ? AND user_id = ?", (platform, user_id)
    )
    return next(((str(row[0]), str(row[1])) for row in rows), None)


async def language(tx: aiosqlite.Connection, platform: str, user_id: str) -> str:
    """Return the language to write to an owner in: that of their last request, else of their claim, else English."""
    rows = await tx.execute_fetchall(
        "SELECT locale FROM jobs WHERE person_id = (SELECT person_id FROM accounts WHERE platform = ? AND user_id = ?)"
        " ORDER BY id DESC LIMIT 1",
        (platform, user_id),
    )
    for row in rows:
        return str(row[0])
    owner = await get(tx, platform, user_id)
    return (owner[1] if owner else "") or "en"


async def put(tx: aiosqlite.Connection, platform: str, user_id: str, name: str, *, locale: str, now: float) -> None:
    """Make an account an owner's; ``locale`` is the language that they spoke when they claimed the bot."""
    await tx.execute_fetchall(
        "INSERT INTO owners (platform, user_id, name, locale, since) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (platform, user_id) DO UPDATE SET name = excluded.name, locale = excluded.locale",
        (platform, user_id, name, locale, now),
    )


async def remove(tx: aiosqlite.Connection, platform: str, user_id: str) -> None:
    """Make an account nobody's any more."""
    await tx.execute_fetchall("DELETE FROM owners WHERE platform = ? AND user_id = ?", (platform, user_id))
