"""Jobs, their states, the table of legal moves, and what the queue has to know of a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from bot.core.ports import Ticket
from bot.core.recipes import batch_key, steps_of
from bot.core.requests import DrawRequest

MAX_ATTEMPTS = 3
"""How often a job may be begun again after the engine was lost, before it fails and is refunded."""


class JobState(StrEnum):
    """Where a job is. HELD waits for approval; PAINTED has its pictures stored; DELIVERED has been shown."""

    HELD = "held"
    QUEUED = "queued"
    RUNNING = "running"
    PAINTED = "painted"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    FAILED = "failed"


MOVES: Mapping[JobState, frozenset[JobState]] = {
    JobState.HELD: frozenset({JobState.QUEUED, JobState.CANCELLED}),
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED, JobState.FAILED}),
    JobState.RUNNING: frozenset({JobState.QUEUED, JobState.PAINTED, JobState.CANCELLED, JobState.FAILED}),
    JobState.PAINTED: frozenset({JobState.DELIVERED}),
    JobState.DELIVERED: frozenset(),
    JobState.CANCELLED: frozenset(),
    JobState.FAILED: frozenset(),
}
"""Every legal move. ``bot.storage.jobs.move`` is the only function that makes one."""

OPEN = frozenset({JobState.HELD, JobState.QUEUED, JobState.RUNNING, JobState.PAINTED})
"""States that something still has to happen in."""


@dataclass(frozen=True, slots=True)
class Job:
    """One stored request. Times are Unix seconds."""

    id: int
    state: JobState
    person_id: int
    account_id: int
    place_id: int | None
    request: DrawRequest
    locale: str
    asker: str
    attempts: int
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None
    seconds: float = 0.0
    error: str = ""
    """Catalogue key of why it failed; empty otherwise."""
    parent_id: int | None = None
    channel: str = ""
    """Where in the place it was asked for; empty in direct messages and on the page."""
    forgotten: bool = False
    """Its person had it forgotten: its prompt and its pictures are gone."""


BULK_FROM = 5
"""Requests for so many pictures are bulk: more than a chat can ask for at once, so from the page or a program."""


def ticket_of(job: Job) -> Ticket:
    """Return a job's ticket."""
    request = job.request
    return Ticket(
        job.id,
        job.person_id,
        request.count,
        batch_key(request),
        request.model,
        work_of(request),
        # Steps are shared by pictures of one size, whatever their number of steps.
        share=(request.model, request.width, request.height),
        place=-job.person_id if job.place_id is None else job.place_id,
        bulk=request.count >= BULK_FROM,
    )


def work_of(request: DrawRequest) -> int:
    """Return what one of its pictures costs to draw, in pixels times steps: enough to tell short from long."""
    return request.width * request.height * steps_of(request)


class ServiceState(StrEnum):
    """RUN: as usual. DRAIN: nothing new is taken on, what waits is drawn. PAUSE: requests wait, nothing new is begun."""

    RUN = "run"
    DRAIN = "drain"
    PAUSE = "pause"
