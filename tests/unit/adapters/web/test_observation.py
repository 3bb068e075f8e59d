"""Every request has an id: in its answer, and in the log lines of what it does, up to the job's end."""

from __future__ import annotations

import io
import json
import logging

import pytest

from adapters.web.observation import HEADER
from bot.observability import logs
from bot.settings import LogFormat, Settings
from tests.unit.adapters.web.harness import WebHarness


@pytest.mark.parametrize("given", ["0af7651916cd43dd8448eb211c80319c", "proxy-1.2_3"])
async def test_a_given_id_is_kept(app: WebHarness, given: str) -> None:
    async with app.client.get("/healthz", headers={HEADER: given}) as response:
        assert response.headers[HEADER] == given


@pytest.mark.parametrize("given", ["", "short", "x" * 65, "with blanks in it", "newline%0Aerror", "<script>alert"])
async def test_others_are_replaced_by_a_new_one(app: WebHarness, given: str) -> None:
    seen = set()
    for _ in range(2):
        async with app.client.get("/nowhere", headers={HEADER: given}) as response:
            seen.add(response.headers[HEADER])
    assert len(seen) == 2
    assert given not in seen


async def test_the_lines_of_a_job_name_it_and_its_request(app: WebHarness) -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    logs.configure(Settings(_env_file=None, log_format=LogFormat.JSON, log_level="DEBUG"), stream=stream)
    try:
        body = {"key": app.key(), "prompt": "a secret prompt"}
        async with app.client.post("/api/draw", json=body, headers={HEADER: "request-of-twelve"}) as response:
            job = (await response.json())["card"]["job_id"]
        await app.final(job)
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    of_job = [line for line in lines if line.get("job") == job]
    said = " ".join(line["message"] for line in of_job)
    for what in ("admitted", "go to slot 0", "1 of 1 pictures of demo were drawn"):
        assert what in said
    assert {line["request"] for line in of_job if "bot.d" in line["name"]} == {"request-of-twelve"}
    assert "secret prompt" not in stream.getvalue()


async def test_requests_are_counted_and_timed_by_route_without_what_people_wrote(app: WebHarness) -> None:
    await app.get("/api/jobs/7")
    await app.get("/nowhere/a-secret-word")
    async with app.client.get("/healthz") as response:
        assert response.status == 200
    value = app.registry.get_sample_value
    assert value("easel_web_requests_total", {"route": "/api/jobs/{job}", "status": "404"}) == 1
    assert value("easel_web_requests_total", {"route": "unknown", "status": "404"}) == 1
    assert value("easel_web_request_duration_seconds_count", {"route": "/healthz"}) == 1
    async with app.client.get("/metrics") as response:
        assert "a-secret-word" not in await response.text()
