"""Options of places and of the service as something that can be changed and undone."""

from __future__ import annotations

from bot.store import options
from bot.store.database import Tx
from bot.usecases.changes import Kind, Subject, Value


async def _get(tx: Tx, subject: Subject) -> Value:
    value = await options.get(tx, int(subject["place_id"] or 0), str(subject["name"]))
    return None if value is None else {"value": value}


async def _put(tx: Tx, subject: Subject, value: Value, set_by: str, now: float) -> None:  # noqa: ARG001 - the log has both
    await options.put(
        tx, int(subject["place_id"] or 0), str(subject["name"]), None if value is None else value["value"]
    )


OPTION = Kind("option", _get, _put)
"""Subject: ``place_id`` (0 is the whole service) and ``name``. Value: ``{"value": ...}``."""
