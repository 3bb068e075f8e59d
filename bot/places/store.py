"""SQL that moves a place to the new id that its platform has given it."""

from __future__ import annotations

from bot.storage.database import Tx

_FREE = "NOT EXISTS (SELECT 1 FROM places WHERE platform = ?1 AND guild = ?3)"
_RULES = (
    "UPDATE OR IGNORE policies SET place = ?3, channel = CASE channel WHEN ?2 THEN ?3 ELSE channel END"
    " WHERE by_owner IN (0, 1) AND coalesce(platform, '') = ?1 AND coalesce(place, '') = ?2"
)
# The subjects of changes name the place too; otherwise they could not be undone.
_SUBJECT = (
    "json_replace(subject, '$.place', ?3, '$.channel',"
    " CASE json_extract(subject, '$.channel') WHEN ?2 THEN ?3 ELSE json_extract(subject, '$.channel') END)"
)
_CHANGES = (
    "UPDATE audit SET place = ?3, subject = CASE WHEN json_valid(subject) AND json_extract(subject, '$.place') = ?2"  # noqa: S608
    f" THEN {_SUBJECT} ELSE subject END WHERE platform = ?1 AND place = ?2"
)
_STATEMENTS = (
    f"UPDATE places SET guild = ?3 WHERE platform = ?1 AND guild = ?2 AND {_FREE}",  # noqa: S608 - constants
    "UPDATE OR IGNORE access SET subject = ?3 WHERE platform = ?1 AND kind = 'place' AND subject = ?2",
    _RULES,
    _CHANGES,
)


async def move_place(tx: Tx, platform: str, old: str, new: str) -> None:
    """Move a place's rules, access decision, options, bans and changes to another id. Repeating it changes nothing.

    Args:
        tx: A writing transaction.
        platform: The platform.
        old: The guild's old id.
        new: Its new id. Rows that exist under it already stay as they are.
    """
    for statement in _STATEMENTS:
        await tx.execute_fetchall(statement, (platform, old, new))
