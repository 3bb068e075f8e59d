"""The whole queue for an owner: what is drawn, what waits, cancelling, moving, and the state of the service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from bot.audit import changes
from bot.audit import store as audit_rows
from bot.audit.store import AuditEntry
from bot.context import AppContext
from bot.core.errors import NotFound
from bot.core.jobs import JobState, ServiceState
from bot.core.people import Actor
from bot.owner import store
from bot.owner.store import QueuedJob
from bot.quotas.store import ledger
from bot.storage import jobs, people, queue_moves
from bot.storage.queue_moves import QueueMove

MOST_SHOWN = 200
"""Most waiting jobs that are listed; more are counted."""

MOST_CANCELLED = 500
"""Most jobs that one call cancels."""


class QueueEnd(StrEnum):
    """Where a waiting job is moved: before all others, or after those that wait now."""

    FRONT = "front"
    BACK = "back"


@dataclass(frozen=True, slots=True)
class QueueLine:
    """A job of the queue and how it stands.

    Attributes:
        job: The job.
        position: 1 is next; None while it is drawn or held.
        low: Seconds until its pictures are there, at least; None where that is not known.
        high: The same, at most.
        progress: 0 to 1 while it is drawn.
        slots: Ids of the slots that have pictures of it now; empty where the engine has one slot alone.
    """

    job: QueuedJob
    position: int | None = None
    low: float | None = None
    high: float | None = None
    progress: float | None = None
    slots: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class QueueView:
    """The queue.

    Attributes:
        state: What the service does.
        drawing: Jobs that were begun, the first one first.
        waiting: The first MOST_SHOWN of those that wait, in the order in which they would begin.
        waits: How many wait in all.
        held: How many wait for an answer to a newcomer.
    """

    state: ServiceState
    drawing: Sequence[QueueLine]
    waiting: Sequence[QueueLine]
    waits: int
    held: int


async def view(ctx: AppContext) -> QueueView:
    """Return the queue as it is now."""
    order = tuple(ctx.backlog.order())
    async with ctx.db.read() as tx:
        state = await people.get_service_state(tx)
        drawing = await store.jobs_in(tx, JobState.RUNNING, limit=MOST_SHOWN)
        waiting = await store.jobs_of(tx, order[:MOST_SHOWN])
        held = await store.count_in(tx, JobState.HELD)
    slots: dict[int, list[str]] = {}
    devices = ctx.backlog.slots()
    for slot in devices if len(devices) > 1 else ():
        for job_id in slot.jobs:
            slots.setdefault(job_id, []).append(slot.id)
    return QueueView(
        state,
        [QueueLine(job, progress=ctx.backlog.progress(job.id), slots=slots.get(job.id, ())) for job in drawing],
        # One that was begun since the order was read is in the list above.
        [_line(ctx, job) for job in waiting if job.state is JobState.QUEUED],
        ctx.backlog.load().waiting,
        held,
    )


def _line(ctx: AppContext, job: QueuedJob) -> QueueLine:
    found = ctx.backlog.position(job.id)
    if found is None:
        return QueueLine(job)
    low, high = (None, None) if found.eta is None else (found.eta.low, found.eta.high)
    return QueueLine(job, found.position, low, high)


async def cancel(ctx: AppContext, actor: Actor, job_ids: Sequence[int]) -> int:
    """Cancel and refund jobs of anybody, in one transaction; returns how many were cancelled. The others had ended."""
    now, by = ctx.clock.now(), changes.actor_label(actor)
    cancelled: list[int] = []
    async with ctx.db.write() as tx:
        for job_id in dict.fromkeys(job_ids):
            job = await jobs.get(tx, job_id)
            if job is None or job.state not in {JobState.HELD, JobState.QUEUED, JobState.RUNNING}:
                continue
            if await jobs.move(tx, job_id, job.state, JobState.CANCELLED, now=now):
                await ledger.refund(tx, job_id, now=now)
                await audit_rows.add(tx, AuditEntry(now, by, "queue cancel", before=f"#{job_id}", after="–"))
                cancelled.append(job_id)
    for job_id in cancelled:
        ctx.backlog.job_cancelled(job_id)
        ctx.backlog.job_changed(job_id)
    return len(cancelled)


async def move(ctx: AppContext, actor: Actor, job_id: int, to: QueueEnd) -> None:
    """Move a waiting job to an end of the queue; a restart keeps its place.

    Raises:
        NotFound: There is no such job, or it does not wait.
    """
    now = ctx.clock.now()
    last_id = None if to is QueueEnd.FRONT else ctx.backlog.newest()
    async with ctx.db.write() as tx:
        job = await jobs.get(tx, job_id)
        if job is None or job.state is not JobState.QUEUED:
            raise NotFound("refusal.queue.not_waiting", job=job_id)
        await queue_moves.put(tx, QueueMove(job_id, last_id))
        entry = AuditEntry(now, changes.actor_label(actor), "queue move", before=f"#{job_id}", after=to.value)
        await audit_rows.add(tx, entry)
    if last_id is None:
        ctx.backlog.move_ahead(job_id)
    else:
        ctx.backlog.move_behind(job_id, last_id)
    ctx.backlog.job_changed(job_id)
