"""Who changed which rule, from what to what; only ever added to."""

from __future__ import annotations

from dataclasses import dataclass

import aiosqlite


@dataclass(frozen=True, slots=True)
class Entry:
    """One change. ``actor`` is ``platform:user id``, or ``operator`` for the command line."""

    at: float
    actor: str
    action: str
    platform: str | None = None
    place: str | None = None
    before: str = ""
    after: str = ""


async def add(tx: aiosqlite.Connection, entry: Entry) -> None:
    """Keep a change; in the transaction that makes it."""
    await tx.execute_fetchall(
        "INSERT INTO audit (at, actor, platform, place, action, before, after) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (entry.at, entry.actor, entry.platform, entry.place, entry.action, entry.before, entry.after),
    )


async def recent(tx: aiosqlite.Connection, limit: int = 50) -> tuple[Entry, ...]:
    """Return the last changes, newest first."""
    rows = await tx.execute_fetchall(
        "SELECT at, actor, action, platform, place, before, after FROM audit ORDER BY id DESC LIMIT ?", (limit,)
    )
    return tuple(Entry(*row) for row in rows)
