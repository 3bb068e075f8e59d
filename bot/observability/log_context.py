"""What log lines are about: a job, and the request that it came by. Tasks take it over from the one that starts them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_JOB: ContextVar[int | None] = ContextVar("job", default=None)
_REQUEST: ContextVar[str] = ContextVar("request", default="")


@contextmanager
def job_context(job_id: int | None) -> Iterator[None]:
    """Name this job in every log line of the block; None leaves it as it is."""
    if job_id is None:
        yield
        return
    token = _JOB.set(job_id)
    try:
        yield
    finally:
        _JOB.reset(token)


@contextmanager
def request_context(request_id: str) -> Iterator[None]:
    """Name this request in every log line of the block, unless an outer block has named one."""
    if _REQUEST.get():
        yield
        return
    token = _REQUEST.set(request_id)
    try:
        yield
    finally:
        _REQUEST.reset(token)


def current_request() -> str:
    """Return the id of the request that is being answered; empty if there is none."""
    return _REQUEST.get()


class ContextFilter(logging.Filter):
    """Adds ``job`` (or ``jobs``, where a line is about several) and ``request`` to log records.

    Lines of the engine's process name their recipes, whose ids begin with their jobs'.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields; no record is left out."""
        recipes = getattr(record, "recipes", None)
        jobs = dict.fromkeys(int(one.partition(":")[0]) for one in recipes or () if one.partition(":")[0].isdigit())
        if not jobs and (job := _JOB.get()) is not None:
            jobs = {job: None}
        if len(jobs) == 1:
            record.job = next(iter(jobs))
        elif jobs:
            record.jobs = list(jobs)
        if request := _REQUEST.get():
            record.request = request
        return True


def suffix_of(record: logging.LogRecord) -> str:
    """Return what a line for people ends with: `` [job 12, request 3f2a]``; empty if there is nothing to name."""
    named = [f"job {record.job}"] if hasattr(record, "job") else []
    if hasattr(record, "jobs"):
        named.append("jobs " + " ".join(str(job) for job in record.jobs))
    if hasattr(record, "request"):
        named.append(f"request {record.request}")
    return f" [{', '.join(named)}]" if named else ""
