"""What log lines are about: a job, and the request that it came by. Tasks take it over from the one that starts them."""

from __future__ import annotations

import logging
import re
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token

_RECIPE = re.compile(r"(?P<job>\d+):\d+(?:@(?P<request>\S+))?", re.ASCII)

_JOB: ContextVar[int | None] = ContextVar("job", default=None)
_REQUEST: ContextVar[str] = ContextVar("request", default="")


class _LogContext:
    """Names a job and a request in the log lines of a block. No generator: it is entered several times a picture."""

    __slots__ = ("_job", "_job_id", "_request", "_request_id")

    def __init__(self, job_id: int | None, request_id: str) -> None:
        self._job_id, self._request_id = job_id, request_id
        self._job: Token[int | None] | None = None
        self._request: Token[str] | None = None

    def __enter__(self) -> None:
        if self._job_id is not None:
            self._job = _JOB.set(self._job_id)
        if self._request_id and not _REQUEST.get():
            self._request = _REQUEST.set(self._request_id)

    def __exit__(self, *_: object) -> None:
        if self._request is not None:
            _REQUEST.reset(self._request)
        if self._job is not None:
            _JOB.reset(self._job)


def job_context(job_id: int | None, request_id: str = "") -> AbstractContextManager[None]:
    """Name this job, and the request that it came by, in every log line of the block.

    A job that is None and a request that is empty leave what an outer block has named; so does a request where an outer
    block has named one.
    """
    return _LogContext(job_id, request_id)


def request_context(request_id: str) -> AbstractContextManager[None]:
    """Name this request in every log line of the block, unless it is empty or an outer block has named one."""
    return _LogContext(None, request_id)


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
