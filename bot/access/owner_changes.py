"""Owners as something that can be changed and undone, and how the live list of them follows the rows."""

from __future__ import annotations

from bot.audit.changes import Subject, Undoable, Value
from bot.core.owners import Owners
from bot.storage import owners as rows
from bot.storage.database import Database, Tx


async def refresh(db: Database, owners: Owners) -> None:
    """Read who has claimed the bot: at start, and whenever the rows may have changed."""
    async with db.read() as tx:
        owners.claimed(await rows.everybody(tx))


async def _get(tx: Tx, subject: Subject) -> Value:
    found = await rows.get(tx, str(subject["platform"]), str(subject["user_id"]))
    return None if found is None else {"name": found[0], "locale": found[1]}


async def _put(tx: Tx, subject: Subject, value: Value, set_by: str, now: float) -> None:  # noqa: ARG001 - the log has it
    platform, user_id = str(subject["platform"]), str(subject["user_id"])
    if value is None:
        await rows.remove(tx, platform, user_id)
    else:
        await rows.put(tx, platform, user_id, str(value["name"]), locale=str(value["locale"]), now=now)


OWNER = Undoable("owner", _get, _put)
"""Subject: ``platform`` and ``user_id``. Value: ``{"name": ..., "locale": ...}``.
Whoever makes or undoes such a change calls ``refresh`` after it.
"""
