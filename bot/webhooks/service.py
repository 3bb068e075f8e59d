"""Webhooks of jobs: stored with a request, due when the job has ended, tried again with growing pauses, and given up."""

from __future__ import annotations

from dataclasses import dataclass

from bot.context import AppContext
from bot.core.jobs import Job
from bot.webhooks import store
from bot.webhooks.store import JobWebhook

PAUSES = (5.0, 30.0, 120.0, 600.0, 3600.0, 4 * 3600.0, 12 * 3600.0)
"""Seconds between two attempts; after the last one a webhook is given up, about 17 hours after its job has ended."""


@dataclass(frozen=True, slots=True)
class DueWebhook:
    """A webhook to be sent, and its ended job."""

    webhook: JobWebhook
    job: Job


async def want(ctx: AppContext, event: str, url: str, secret: str) -> bool:
    """Store the webhook of a request that is about to be admitted; returns False if its job is there already."""
    async with ctx.db.write() as tx:
        return await store.add(tx, JobWebhook(event, url, secret), now=ctx.clock.now())


async def withdraw(ctx: AppContext, event: str) -> None:
    """Delete the webhook of a request that was refused."""
    async with ctx.db.write() as tx:
        await store.remove_without_job(tx, event)


async def tidy(ctx: AppContext) -> None:
    """Delete webhooks whose request was never admitted."""
    async with ctx.db.write() as tx:
        await store.remove_unused(tx, now=ctx.clock.now())


@dataclass(frozen=True, slots=True)
class Outlook:
    """What there is to send.

    Attributes:
        due: Webhooks to be sent now.
        later: Seconds until the next retry; None if none waits.
        exist: Whether there are any webhooks, those of unfinished jobs included.
    """

    due: tuple[DueWebhook, ...]
    later: float | None
    exist: bool


async def look(ctx: AppContext, limit: int) -> Outlook:
    """Return what there is to send; at most ``limit`` webhooks at once."""
    now = ctx.clock.now()
    async with ctx.db.read() as tx:
        found = await store.due(tx, now=now, limit=limit)
        exist, later = await store.next_times(tx, now=now)
    ended = tuple(DueWebhook(webhook, job) for webhook, job in found)
    return Outlook(ended, None if later is None else later - now, exist)


async def delivered(ctx: AppContext, webhook: JobWebhook) -> None:
    """Record that a webhook was received."""
    async with ctx.db.write() as tx:
        await store.remove(tx, webhook.event)


async def failed(ctx: AppContext, webhook: JobWebhook, *, final: bool) -> bool:
    """Record that a webhook was not received; returns whether it is given up.

    Args:
        ctx: The use cases' context.
        webhook: The webhook.
        final: Its receiver wants no more, or can never be reached.
    """
    given_up = final or webhook.attempts >= len(PAUSES)
    async with ctx.db.write() as tx:
        if given_up:
            await store.remove(tx, webhook.event)
        else:
            await store.put_off(tx, webhook.event, until=ctx.clock.now() + PAUSES[webhook.attempts])
    return given_up
