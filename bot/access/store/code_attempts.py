"""Wrong codes that an account typed of late: whoever guesses has to wait, whatever codes there are."""

from __future__ import annotations

import aiosqlite

TRIES = 5
SECONDS = 600.0
"""So many wrong codes may be typed in so much time."""


async def left(tx: aiosqlite.Connection, account_id: int, now: float) -> tuple[int, float]:
    """Return how many tries an account has left, and in how many seconds it has all of them again."""
    rows = await tx.execute_fetchall("SELECT count, since FROM guesses WHERE account_id = ?", (account_id,))
    for count, since in rows:
        # A time in the future is of a clock that was set back since.
        if since <= now < since + SECONDS:
            return max(0, TRIES - count), since + SECONDS - now
    return TRIES, 0.0


async def wrong(tx: aiosqlite.Connection, account_id: int, now: float) -> int:
    """Count a wrong code; returns how many tries are left. The time runs from the first wrong one on."""
    await tx.execute_fetchall(
        "INSERT INTO guesses (account_id, count, since) VALUES (?, 1, ?) ON CONFLICT (account_id) DO UPDATE SET"
        " count = CASE WHEN excluded.since >= since AND excluded.since < since + ? THEN count + 1 ELSE 1 END,"
        " since = CASE WHEN excluded.since >= since AND excluded.since < since + ? THEN since ELSE excluded.since END",
        (account_id, now, SECONDS, SECONDS),
    )
    return (await left(tx, account_id, now))[0]
