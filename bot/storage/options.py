"""The table of options: JSON values by name, of a place or of the whole service."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from bot.core.jobs import ServiceState
from bot.storage.database import Tx
from bot.storage.sql import JSON, RowMapper

SERVICE = 0
"""Place id of the options of the whole service."""

STATE = "state"
"""Name of the service's option that holds its ServiceState."""


@dataclass(frozen=True, slots=True)
class _Option:
    place_id: int
    name: str
    value: object


_OPTIONS = RowMapper(_Option, "options", converters={"value": JSON})


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a place and of the whole service.

    Attributes:
        here: Values that the place's admins have set, by name.
        everywhere: Values that the owners have set, by name.
    """

    here: Mapping[str, object] = field(default_factory=dict)
    everywhere: Mapping[str, object] = field(default_factory=dict)

    def binding(self, name: str) -> object:
        """Return the effective value: the place's, else the service's, else None."""
        value = self.here.get(name)
        return self.everywhere.get(name) if value is None else value

    @property
    def state(self) -> ServiceState:
        """The state that the owners have set."""
        value = self.everywhere.get(STATE)
        return ServiceState(value) if isinstance(value, str) and value in set(ServiceState) else ServiceState.RUN


async def get(tx: Tx, place_id: int, name: str) -> object:
    """Return an option's value; None if it is not set."""
    rows = await tx.execute_fetchall("SELECT value FROM options WHERE place_id = ? AND name = ?", (place_id, name))
    return next((json.loads(row[0]) for row in rows), None)


async def read(tx: Tx, place_id: int | None) -> Options:
    """Return the options of a place and of the service; with None, only those of the service."""
    rows = await _OPTIONS.select(tx, "WHERE place_id IN (?, ?)", (SERVICE, place_id))
    return Options(
        here={row.name: row.value for row in rows if row.place_id != SERVICE},
        everywhere={row.name: row.value for row in rows if row.place_id == SERVICE},
    )


async def put(tx: Tx, place_id: int, name: str, value: object) -> None:
    """Set an option; None removes it."""
    if value is None:
        await tx.execute_fetchall("DELETE FROM options WHERE place_id = ? AND name = ?", (place_id, name))
        return
    await tx.execute_fetchall(
        "INSERT INTO options (place_id, name, value) VALUES (?, ?, ?)"
        " ON CONFLICT (place_id, name) DO UPDATE SET value = excluded.value",
        (place_id, name, JSON.write(value)),
    )


async def service_state(tx: Tx) -> ServiceState:
    """Return the state that the owners have set."""
    return (await read(tx, None)).state
