"""SQL of the audit log, which is only ever appended to."""

from __future__ import annotations

from dataclasses import dataclass

import aiosqlite

from bot.storage.sql import RowMapper


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change. ``actor`` is ``platform:user id``, or ``operator`` for the command line.

    Attributes:
        at: Unix seconds.
        actor: Who.
        action: What it is called, such as ``quota set``.
        platform: Of the place whose admins may see it; None with ``place`` None is the owners' alone.
        place: The guild's id.
        before: What was there, as JSON.
        after: What is there since, as JSON.
        kind: What sort of thing; empty for changes that can't be undone.
        subject: Which of that sort, as JSON.
        undoes: Number of the change that this one takes back.
        id: Its number.
    """

    at: float
    actor: str
    action: str
    platform: str | None = None
    place: str | None = None
    before: str = ""
    after: str = ""
    kind: str = ""
    subject: str = ""
    undoes: int | None = None
    id: int = 0


_ENTRIES = RowMapper(AuditEntry, "audit")
_NEW = RowMapper(AuditEntry, "audit", omit={"id"})


async def add(tx: aiosqlite.Connection, entry: AuditEntry) -> None:
    """Append a change, in the transaction that makes it."""
    await _NEW.insert(tx, entry)


async def get(tx: aiosqlite.Connection, number: int) -> AuditEntry | None:
    """Return one change, or None."""
    return await _ENTRIES.select_one(tx, "WHERE id = ?", (number,))


async def undone(tx: aiosqlite.Connection, number: int) -> bool:
    """Return whether a change was undone."""
    rows = await tx.execute_fetchall("SELECT 1 FROM audit WHERE undoes IS NOT NULL AND undoes = ? LIMIT 1", (number,))
    return any(True for _ in rows)


async def recent(tx: aiosqlite.Connection, limit: int = 50, before: int | None = None) -> tuple[AuditEntry, ...]:
    """Return the last changes, newest first; only those before this number where one is given."""
    return await _ENTRIES.select(
        tx, "WHERE id < ? ORDER BY id DESC LIMIT ?", (2**62 if before is None else before, limit)
    )


async def of_place(tx: aiosqlite.Connection, platform: str, place: str, limit: int = 50) -> tuple[AuditEntry, ...]:
    """Return the last changes of one place, newest first; ``place`` is the guild's id."""
    return await _ENTRIES.select(
        tx, "WHERE platform = ? AND place = ? ORDER BY id DESC LIMIT ?", (platform, place, limit)
    )
