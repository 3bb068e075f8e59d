"""Jobs whose end could be shown nowhere, until the person who asked was told."""

from __future__ import annotations

from dataclasses import dataclass

import aiosqlite

_ENDED = "state IN ('painted', 'delivered', 'failed')"


@dataclass(frozen=True, slots=True)
class Missed:
    """What a person has not been shown.

    Attributes:
        drawn: Jobs whose pictures are in the history.
        failed: Jobs that could not be drawn.
        latest: The newest of them, by its id.
    """

    drawn: int
    failed: int
    latest: int


async def add(tx: aiosqlite.Connection, job_id: int) -> None:
    """This job can be shown nowhere; what comes of it is missed, unless it is cancelled."""
    await tx.execute_fetchall("UPDATE jobs SET missed = 1 WHERE id = ? AND NOT forgotten", (job_id,))


async def of_account(tx: aiosqlite.Connection, platform: str, user_id: str) -> Missed | None:
    """Return what the person behind an account has missed; None when there is nothing."""
    rows = await tx.execute_fetchall(
        "SELECT count(*) FILTER (WHERE state <> 'failed'), count(*) FILTER (WHERE state = 'failed'), max(jobs.id)"  # noqa: S608 - a constant
        " FROM accounts JOIN jobs ON jobs.person_id = accounts.person_id AND jobs.missed = 1"
        f" WHERE platform = ? AND user_id = ? AND NOT forgotten AND {_ENDED}",
        (platform, user_id),
    )
    row = next(iter(rows))
    return None if row[2] is None else Missed(*row)


async def clear(tx: aiosqlite.Connection, platform: str, user_id: str, latest: int) -> None:
    """The person behind an account was told of everything up to the job ``latest``."""
    await tx.execute_fetchall(
        f"UPDATE jobs SET missed = 0 WHERE missed = 1 AND id <= ? AND {_ENDED} AND person_id ="  # noqa: S608 - a constant
        " (SELECT person_id FROM accounts WHERE platform = ? AND user_id = ?)",
        (latest, platform, user_id),
    )
