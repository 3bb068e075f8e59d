"""Jobs: their states, the legal moves between states, and the queue's ticket for a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from bot.core.ports import Ticket
from bot.core.requests import DrawRequest, batch_key, evaluations, share_key, steps_of

MAX_ATTEMPTS = 3
"""A job fails and is refunded if the engine is lost more often than this while it draws it."""


BULK_FROM = 5
"""A request for this many pictures or more is bulk. Chats can't request that many; the page and programs can."""


class JobState(StrEnum):
    """State of a job. HELD: waits for approval. PAINTED: its pictures are stored. DELIVERED: it has been shown."""

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
"""Legal moves from each state. Only ``bot.storage.jobs.move`` changes a state."""


@dataclass(frozen=True, slots=True)
class Job:
    """A stored job. Times are Unix seconds."""

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
    """Catalogue key of the reason why it failed; empty if it has not."""
    parent_id: int | None = None
    channel: str = ""
    """Channel of the place where it was requested; empty in direct messages and on the page."""
    forgotten: bool = False
    """It was deleted, or its person has deleted their data: its prompt and its pictures are gone."""
    pressed: str = ""
    """The button of its parent's card that made it, such as ``vary:0``; empty if none did."""
    deletion_id: int | None = None
    """The deletion that will delete it unless that is undone; None where there is none."""
    kind: str = "draw"
    """``draw``, ``edit``, ``start`` (from a picture), or the action of ``pressed``, such as ``vary``."""

    @property
    def is_hidden(self) -> bool:
        """Whether it is deleted, or about to be: nobody sees it."""
        return self.forgotten or self.deletion_id is not None

    @property
    def parent_index(self) -> int:
        """The index of the parent's picture that it was made from; 0 if no button named one."""
        _, _, index = self.pressed.partition(":")
        return int(index) if index.isdecimal() else 0


def ticket_of(job: Job) -> Ticket:
    """Return the job's ticket for the queue."""
    request = job.request
    return Ticket(
        job.id,
        job.person_id,
        request.count,
        batch_key(request),
        request.model,
        work_of(request),
        share=share_key(request),
        place=-job.person_id if job.place_id is None else job.place_id,
        bulk=request.count >= BULK_FROM,
        width=request.width,
        height=request.height,
        plain=request.plain,
    )


def work_of(request: DrawRequest) -> int:
    """Return the work of drawing one of its pictures, in pixels times runs of the denoiser."""
    return request.seen_pixels * evaluations(request, steps_of(request))


class ServiceState(StrEnum):
    """RUN: normal operation. DRAIN: new requests are refused, queued ones are drawn. PAUSE: requests are queued, none starts."""

    RUN = "run"
    DRAIN = "drain"
    PAUSE = "pause"
