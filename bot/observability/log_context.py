"""What log lines are about: a job, and the request that it came by. Tasks take it over from the one that starts them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_RECIPE = re.compile(r"(?P<job>\d+):\d+(?:@(?P<request>\S+))?", re.ASCII)

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
    """Name this request in every log line of the block, unless it is empty or an outer block has named one."""
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

    Lines of the engine's process name their recipes: ``12:0@3f2a`` is picture 0 of job 12 of request 3f2a.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields; no record is left out."""
        named = [_RECIPE.fullmatch(recipe) for recipe in getattr(record, "recipes", ())]
        jobs = dict.fromkeys(int(found["job"]) for found in named if found is not None)
        requests = {found["request"] for found in named if found is not None and found["request"]}
        if not jobs and (job := _JOB.get()) is not None:
            jobs = {job: None}
        if len(jobs) == 1:
            record.job = next(iter(jobs))
        elif jobs:
            record.jobs = list(jobs)
        if not requests and (request := _REQUEST.get()):
            requests = {request}
        if len(requests) == 1:
            record.request = requests.pop()
        return True


def suffix_of(record: logging.LogRecord) -> str:
    """Return what a line for people ends with: `` [job 12, request 3f2a]``; empty if there is nothing to name."""
    named = [f"job {record.job}"] if hasattr(record, "job") else []
    if hasattr(record, "jobs"):
        named.append("jobs " + " ".join(str(job) for job in record.jobs))
    if hasattr(record, "request"):
        named.append(f"request {record.request}")
    return f" [{', '.join(named)}]" if named else ""
