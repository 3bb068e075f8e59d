"""SQL of what people have set for their own requests, and the reading of all that requests depend on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from bot.core.preferences import DEFAULTS, RIGHTS, Options, Preferences
from bot.storage.database import Transactions, Tx
from bot.storage.sql import JSON, RowMapper


@dataclass(frozen=True, slots=True)
class _Row:
    platform: str
    id: str
    name: str
    value: object


_ROWS = RowMapper(_Row, converters={"value": JSON})
_PEOPLE = "SELECT a.platform, a.user_id AS id, o.name, o.value FROM person_options o JOIN accounts a ON a.person_id = o.person_id"
_PLACES = (
    "SELECT p.platform, p.guild AS id, o.name, o.value FROM options o JOIN places p ON p.id = o.place_id"
    " WHERE o.name IN (?, ?) OR o.name GLOB ?"
)


async def refresh(db: Transactions, preferences: Preferences) -> None:
    """Load all preferences again: at start, and after every change."""
    async with db.read() as tx:
        people = await tx.execute_fetchall(_PEOPLE)
        places = await tx.execute_fetchall(_PLACES, (DEFAULTS, RIGHTS, f"{DEFAULTS}:*"))
    preferences.load(_grouped(_ROWS.read(row) for row in people), _grouped(_ROWS.read(row) for row in places))


async def of_person(tx: Tx, person_id: int) -> dict[str, object]:
    """Return what a person has set, by name."""
    rows = await tx.execute_fetchall("SELECT name, value FROM person_options WHERE person_id = ?", (person_id,))
    return {str(row[0]): json.loads(row[1]) for row in rows}


async def put(tx: Tx, person_id: int, name: str, value: object) -> None:
    """Set a person's option; None removes it."""
    if value is None:
        await tx.execute_fetchall("DELETE FROM person_options WHERE person_id = ? AND name = ?", (person_id, name))
        return
    await tx.execute_fetchall(
        "INSERT INTO person_options (person_id, name, value) VALUES (?, ?, ?)"
        " ON CONFLICT (person_id, name) DO UPDATE SET value = excluded.value",
        (person_id, name, JSON.write(value)),
    )


def _grouped(rows: Iterable[_Row]) -> dict[tuple[str, str], Options]:
    found: dict[tuple[str, str], dict[str, object]] = {}
    for row in rows:
        found.setdefault((row.platform, row.id), {})[row.name] = row.value
    return dict(found)
