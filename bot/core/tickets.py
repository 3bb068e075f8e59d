"""What the queue has to know of a job, worked out from its request."""

from __future__ import annotations

from bot.core.jobs import Job
from bot.core.ports import Ticket
from bot.core.recipes import batch_key, steps_of
from bot.core.requests import DrawRequest

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
