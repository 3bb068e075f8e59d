"""Options of a place, or of the whole service: one JSON value each, by name."""

from __future__ import annotations

import json

import aiosqlite

from bot.model.service import State

SERVICE = 0
"""Stands for the place of what holds everywhere."""

STATE = "state"
"""Option of the service: a State."""


async def get(tx: aiosqlite.Connection, place_id: int, name: str) -> object:
    """Return an option's value; None when it is not set."""
    rows = await tx.execute_fetchall("SELECT value FROM options WHERE place_id = ? AND name = ?", (place_id, name))
    return next((json.loads(row[0]) for row in rows), None)


async def of_place(tx: aiosqlite.Connection, place_id: int) -> dict[str, object]:
    """Return every option that is set for a place (``SERVICE`` for the whole service)."""
    rows = await tx.execute_fetchall("SELECT name, value FROM options WHERE place_id = ?", (place_id,))
    return {row[0]: json.loads(row[1]) for row in rows}


async def put(tx: aiosqlite.Connection, place_id: int, name: str, value: object) -> None:
    """Set an option; None takes it away."""
    if value is None:
        await tx.execute_fetchall("DELETE FROM options WHERE place_id = ? AND name = ?", (place_id, name))
        return
    await tx.execute_fetchall(
        "INSERT INTO options (place_id, name, value) VALUES (?, ?, ?)"
        " ON CONFLICT (place_id, name) DO UPDATE SET value = excluded.value",
        (place_id, name, json.dumps(value, ensure_ascii=False)),
    )


async def service_state(tx: aiosqlite.Connection) -> State:
    """Return what the owners have the whole service do."""
    value = await get(tx, SERVICE, STATE)
    return State(value) if isinstance(value, str) and value in set(State) else State.RUN
