"""SQL of webhooks: wanted ones, those whose job has ended, and retries."""

from __future__ import annotations

from dataclasses import dataclass, field

from bot.core.jobs import Job
from bot.storage import jobs
from bot.storage.database import Tx
from bot.storage.sql import RowMapper

UNUSED_SECONDS = 86400.0
"""Seconds after which a webhook without a job is deleted: its request was refused while the service was killed."""


@dataclass(frozen=True, slots=True)
class JobWebhook:
    """A webhook that is not delivered.

    Attributes:
        event: Its job's event.
        url: Where it is sent.
        secret: Signs it; see ``adapters/web/api_v1/webhooks.py``.
        attempts: How often it was sent without success.
    """

    event: str
    url: str
    secret: str = field(repr=False)
    attempts: int = 0


_WEBHOOKS = RowMapper(JobWebhook, "webhooks")


async def add(tx: Tx, webhook: JobWebhook, *, now: float) -> bool:
    """Store a webhook unless its event has a job already; returns whether it was stored. A second one replaces it."""
    rows = await tx.execute_fetchall(
        "INSERT INTO webhooks (event, url, secret, next_at, created_at)"
        " SELECT ?, ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE event = ?)"
        " ON CONFLICT (event) DO UPDATE SET url = excluded.url, secret = excluded.secret RETURNING event",
        (webhook.event, webhook.url, webhook.secret, now, now, webhook.event),
    )
    return any(True for _ in rows)


async def remove_without_job(tx: Tx, event: str) -> None:
    """Delete the webhook of a request that was refused."""
    await tx.execute_fetchall(
        "DELETE FROM webhooks WHERE event = ? AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.event = webhooks.event)",
        (event,),
    )


async def remove_unused(tx: Tx, *, now: float) -> None:
    """Delete webhooks that have had no job for ``UNUSED_SECONDS``."""
    await tx.execute_fetchall(
        "DELETE FROM webhooks WHERE created_at < ?"
        " AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.event = webhooks.event)",
        (now - UNUSED_SECONDS,),
    )


async def due(tx: Tx, *, now: float, limit: int) -> tuple[tuple[JobWebhook, Job], ...]:
    """Return webhooks whose job has ended and whose time has come, with their jobs; those that wait longest first."""
    found = await _WEBHOOKS.select(
        tx,
        "WHERE next_at <= ? AND EXISTS (SELECT 1 FROM jobs WHERE jobs.event = webhooks.event"
        " AND jobs.state IN ('painted', 'delivered', 'cancelled', 'failed') AND jobs.deletion_id IS NULL) ORDER BY next_at LIMIT ?",
        (now, limit),
    )
    ended = [(webhook, await jobs.by_event(tx, webhook.event)) for webhook in found]
    return tuple((webhook, job) for webhook, job in ended if job is not None)


async def next_times(tx: Tx, *, now: float) -> tuple[bool, float | None]:
    """Return whether there is any webhook, and when the next retry is due, in Unix seconds (None: no retry waits)."""
    rows = await tx.execute_fetchall(
        "SELECT EXISTS (SELECT 1 FROM webhooks), (SELECT min(next_at) FROM webhooks WHERE next_at > ?)", (now,)
    )
    exist, later = next(iter(rows))
    return bool(exist), later


async def remove(tx: Tx, event: str) -> None:
    """Delete a webhook that was delivered or is given up."""
    await tx.execute_fetchall("DELETE FROM webhooks WHERE event = ?", (event,))


async def put_off(tx: Tx, event: str, *, until: float) -> None:
    """Count a failed attempt and set the time of the next one."""
    await tx.execute_fetchall(
        "UPDATE webhooks SET attempts = attempts + 1, next_at = ? WHERE event = ?", (until, event)
    )
