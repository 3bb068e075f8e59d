"""Log lines name the job and the request that they are about, for people and as JSON."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest

from bot.observability import logs
from bot.observability.log_context import current_request, job_context, request_context
from bot.settings import LogFormat, Settings

log = logging.getLogger("easel.test")


@pytest.fixture(autouse=True)
def kept_root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def written(form: LogFormat) -> io.StringIO:
    stream = io.StringIO()
    logs.configure(Settings(_env_file=None, log_format=form), stream=stream)
    return stream


def test_a_line_for_people_ends_with_them() -> None:
    stream = written(LogFormat.CONSOLE)
    with job_context(12), request_context("3f2a"):
        log.info("drawn")
    log.info("a line about nothing")
    with job_context(None):
        log.info("one with two jobs", extra={"recipes": ("12:0", "12:1", "13:0")})
    first, second, third = stream.getvalue().splitlines()
    assert first.endswith("easel.test: drawn [job 12, request 3f2a]")
    assert second.endswith("a line about nothing")
    assert third.endswith("one with two jobs [jobs 12 13]")


def test_a_traceback_stands_behind_them() -> None:
    stream = written(LogFormat.CONSOLE)
    with job_context(12):
        try:
            raise RuntimeError("no")
        except RuntimeError:
            log.exception("failed")
    lines = stream.getvalue().splitlines()
    assert lines[0].endswith("failed [job 12]")
    assert lines[-1] == "RuntimeError: no"


def test_json_has_fields_and_recipes_name_their_jobs() -> None:
    stream = written(LogFormat.JSON)
    with job_context(7):
        log.info("of the engine", extra={"recipes": ("12:0@request-1",)})
        log.info("of both", extra={"recipes": ("12:0@a", "13:1@b")})
        log.info("of the service")
    log.info("of no number", extra={"recipes": ("warm-up",)})
    engine, both, service, other = map(json.loads, stream.getvalue().splitlines())
    assert (engine["job"], both["jobs"], service["job"]) == (12, [12, 13], 7)
    assert engine["request"] == "request-1"
    assert "request" not in both
    assert "job" not in other


async def test_tasks_take_them_over_and_the_outer_request_counts() -> None:
    async def inner() -> str:
        with request_context("inner"):
            return current_request()

    with request_context("outer"):
        task = asyncio.create_task(inner())
    assert await task == "outer"
    assert await asyncio.create_task(inner()) == "inner"
    assert not current_request()
