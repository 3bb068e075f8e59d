"""How often somebody was refused by moderation of late."""

from __future__ import annotations

import aiosqlite

from bot.moderation.strikes import Strikes


async def of_person(tx: aiosqlite.Connection, person_id: int) -> Strikes | None:
    """Return the strikes of the person's account that has most of them; None when there are none."""
    rows = await tx.execute_fetchall(
        "SELECT strikes.count, strikes.last_at FROM accounts JOIN strikes ON strikes.account_id = accounts.id"
        " WHERE accounts.person_id = ? ORDER BY strikes.count DESC, strikes.last_at DESC LIMIT 1",
        (person_id,),
    )
    return next((Strikes(int(row[0]), float(row[1])) for row in rows), None)


async def put(tx: aiosqlite.Connection, account_id: int, strikes: Strikes) -> None:
    """Keep an account's strikes."""
    await tx.execute_fetchall(
        "INSERT INTO strikes (account_id, count, last_at) VALUES (?, ?, ?)"
        " ON CONFLICT (account_id) DO UPDATE SET count = excluded.count, last_at = excluded.last_at",
        (account_id, strikes.count, strikes.last_at),
    )
