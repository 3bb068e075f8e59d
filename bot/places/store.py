"""A place that its platform has given another id: what was set and decided there goes on holding."""

from __future__ import annotations

import aiosqlite

_FREE = "NOT EXISTS (SELECT 1 FROM places WHERE platform = ?1 AND guild = ?3)"
_RULES = (
    "UPDATE OR IGNORE policies SET place = ?3, channel = CASE channel WHEN ?2 THEN ?3 ELSE channel END"
    " WHERE by_owner IN (0, 1) AND coalesce(platform, '') = ?1 AND coalesce(place, '') = ?2"
)
# Changes name their place in what they changed as well, or they could not be undone any more.
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


async def move_place(tx: aiosqlite.Connection, platform: str, old: str, new: str) -> None:
    """Give a place's rules, its approval, its options, bans and changes to another id; doing it again changes nothing.

    Args:
        tx: A writing transaction.
        platform: Of both.
        old: The guild's id until now.
        new: Its id from now on. What is known under it already stays as it is.
    """
    for statement in _STATEMENTS:
        await tx.execute_fetchall(statement, (platform, old, new))
