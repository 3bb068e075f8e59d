"""What the clock said last, and since when it is doubted."""

from __future__ import annotations

from dataclasses import dataclass

import aiosqlite

from bot.storage import options

NAME = "clock"
"""Option of the service: ``seen``, and where it is doubted ``known`` and ``ran``."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """The clock may have jumped.

    Attributes:
        known: The last moment before that (Unix seconds).
        ran: Seconds that the service has run since then, while the clock kept its pace.
    """

    known: float
    ran: float


async def read(tx: aiosqlite.Connection) -> tuple[float, Doubt | None]:
    """Return what the clock said last (Unix seconds, 0 where nothing is known) and whether it is doubted."""
    value = await options.get(tx, options.SERVICE, NAME)
    if not isinstance(value, dict):
        return 0.0, None
    seen, known, ran = (value.get(name) for name in ("seen", "known", "ran"))
    doubt = Doubt(float(known), float(ran)) if isinstance(known, int | float) and isinstance(ran, int | float) else None
    return (float(seen) if isinstance(seen, int | float) else 0.0), doubt


async def write(tx: aiosqlite.Connection, seen: float, doubt: Doubt | None) -> None:
    """Remember what the clock says now."""
    value = {"seen": seen} if doubt is None else {"seen": seen, "known": doubt.known, "ran": doubt.ran}
    await options.put(tx, options.SERVICE, NAME, value)


async def newest(tx: aiosqlite.Connection) -> float:
    """Return when the newest request came (Unix seconds); 0 where there is none."""
    rows = await tx.execute_fetchall("SELECT created_at FROM jobs ORDER BY id DESC LIMIT 1")
    return next((float(row[0]) for row in rows), 0.0)
