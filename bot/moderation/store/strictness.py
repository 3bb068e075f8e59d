"""How strict a place was when a job was asked for: its pictures are judged by that, whatever was changed since."""

from __future__ import annotations

import aiosqlite

from bot.core.strictness import Strictness, strictness_of


async def of_job(tx: aiosqlite.Connection, job_id: int) -> Strictness:
    """Return it; OFF for a job that is not there."""
    rows = await tx.execute_fetchall("SELECT strictness FROM jobs WHERE id = ?", (job_id,))
    return next((strictness_of(row[0]) or Strictness.OFF for row in rows), Strictness.OFF)
