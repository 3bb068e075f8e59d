"""Jobs whose end could be shown nowhere, until the person who asked was told."""

from __future__ import annotations

from dataclasses import dataclass

import aiosqlite

from bot.storage.sql import RowMapper

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


_MISSED = RowMapper(
    Missed,
    columns={
        "drawn": "count(*) FILTER (WHERE state <> 'failed')",
        "failed": "count(*) FILTER (WHERE state = 'failed')",
        "latest": "max(jobs.id)",
    },
)


async def add(tx: aiosqlite.Connection, job_id: int) -> None:
    """This job can be shown nowhere; what comes of it is missed, unless it is cancelled."""
    await tx.execute_fetchall("UPDATE jobs SET missed = 1 WHERE id = ? AND NOT forgotten", (job_id,))


async def of_account(tx: aiosqlite.Connection, platform: str, user_id: str) -> Missed | None:
    """Return what the person behind an account has missed; None when there is nothing."""
    missed = await _MISSED.fetch(
        tx,
        f"SELECT {_MISSED.columns}"  # noqa: S608 - constants
        " FROM accounts JOIN jobs ON jobs.person_id = accounts.person_id AND jobs.missed = 1"
        f" WHERE platform = ? AND user_id = ? AND NOT forgotten AND {_ENDED}",
        (platform, user_id),
    )
    return next((one for one in missed if one.latest), None)


async def clear(tx: aiosqlite.Connection, platform: str, user_id: str, latest: int) -> None:
    """The person behind an account was told of everything up to the job ``latest``."""
    await tx.execute_fetchall(
        f"UPDATE jobs SET missed = 0 WHERE missed = 1 AND id <= ? AND {_ENDED} AND person_id ="  # noqa: S608 - a constant
        " (SELECT person_id FROM accounts WHERE platform = ? AND user_id = ?)",
        (latest, platform, user_id),
    )
