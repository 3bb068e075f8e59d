"""Who runs this Easel beside those whom the settings name: whoever has claimed the bot."""

from __future__ import annotations

import aiosqlite


async def everybody(tx: aiosqlite.Connection) -> tuple[tuple[str, str], ...]:
    """Return platform and user id of each."""
    rows = await tx.execute_fetchall("SELECT platform, user_id FROM owners")
    return tuple((str(row[0]), str(row[1])) for row in rows)


async def get(tx: aiosqlite.Connection, platform: str, user_id: str) -> str | None:
    """Return the name of an owner; None when that account is none."""
    rows = await tx.execute_fetchall("SELECT name FROM owners WHERE platform = ? AND user_id = ?", (platform, user_id))
    return next((str(row[0]) for row in rows), None)


async def put(tx: aiosqlite.Connection, platform: str, user_id: str, name: str | None, *, now: float) -> None:
    """Make an account an owner's, or with ``name`` None nobody's any more."""
    if name is None:
        await tx.execute_fetchall("DELETE FROM owners WHERE platform = ? AND user_id = ?", (platform, user_id))
        return
    await tx.execute_fetchall(
        "INSERT INTO owners (platform, user_id, name, since) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (platform, user_id) DO UPDATE SET name = excluded.name",
        (platform, user_id, name, now),
    )
