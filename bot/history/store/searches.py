"""What each account searched for last, so that the buttons of its pages find on after a restart."""

from __future__ import annotations

import aiosqlite

MOST = 999
"""Numbers run up to this and begin again: three digits have room in a button."""

KEPT = 50
"""So many of the last searches of an account are kept."""


async def add(tx: aiosqlite.Connection, account_id: int, query: str, *, now: float) -> int:
    """Keep a search as it was typed; returns its number, from 1 to 999. The same one again keeps its number.

    Args:
        tx: A writing transaction.
        account_id: Who searches.
        query: What was typed.
        now: Unix seconds.
    """
    rows = list(
        await tx.execute_fetchall(
            "SELECT number, query FROM searches WHERE account_id = ? ORDER BY at DESC, number DESC", (account_id,)
        )
    )
    number = next((row[0] for row in rows if row[1] == query), None)
    if number is None:
        number = _free({row[0] for row in rows})
    await tx.execute_fetchall(
        "INSERT INTO searches (account_id, number, query, at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (account_id, number) DO UPDATE SET query = excluded.query, at = excluded.at",
        (account_id, number, query, now),
    )
    for row in rows[KEPT - 1 :]:
        if row[0] != number:
            await tx.execute_fetchall("DELETE FROM searches WHERE account_id = ? AND number = ?", (account_id, row[0]))
    return int(number)


async def get(tx: aiosqlite.Connection, account_id: int, number: int) -> str | None:
    """Return what an account searched for under that number; None when it is kept no longer."""
    rows = await tx.execute_fetchall(
        "SELECT query FROM searches WHERE account_id = ? AND number = ?", (account_id, number)
    )
    return next((str(row[0]) for row in rows), None)


def _free(used: set[int]) -> int:
    last = max(used, default=0)
    return last + 1 if last < MOST else min(set(range(1, MOST + 1)) - used)
