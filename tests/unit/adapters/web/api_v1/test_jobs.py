"""Jobs by the API: created, waited for, listed, acted on, deleted; each answer is as its document says."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from adapters.web import following
from tests.fakes.source_images import BLUE, GREEN, RED, half_mask, opened, picture
from tests.unit.adapters.web.api_v1.checker import Documented
from tests.unit.adapters.web.harness import Json, WebHarness, error_of, events

ONE = "/api/v1/jobs/{job}"


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


async def drawn(api: Documented, **body: Any) -> Json:
    status, job = await api.call("POST", "/api/v1/jobs?wait=30", "/api/v1/jobs", json={"prompt": "a red apple", **body})
    assert status == 201, job
    assert job["state"] == "finished"
    return job


async def test_every_operation_answers_as_the_document_says(app: WebHarness) -> None:
    api = await Documented.of(app)
    job = await drawn(api, count=2, seed=7, steps=3, width=64, height=96, negative="", loras=[], private=True)
    assert [(one["seed"], one["seed_text"]) for one in job["pictures"]] == [(7, "7"), (8, "8")]
    assert (job["request"]["width"], job["request"]["height"], job["request"]["steps"]) == (64, 96, 3)
    assert job["webhook_secret"] is None
    async with app.client.get(job["pictures"][1]["url"]) as response:
        assert opened(await response.read()).size == (64, 96)

    for path in ("models", "styles", "loras", "quota", "engine"):
        status, _ = await api.call("GET", f"/api/v1/{path}")
        assert status == 200
    assert await api.call("GET", "/api/v1/jobs/1?wait=1", ONE) == (
        200,
        {name: value for name, value in job.items() if name != "webhook_secret"},
    )
    status, page = await api.call("GET", "/api/v1/jobs?limit=1", "/api/v1/jobs")
    assert [one["id"] for one in page["jobs"]] == [1]

    status, answer = await api.call(
        "POST", "/api/v1/jobs/1/actions", f"{ONE}/actions", json={"action": "reroll"}, headers={"Idempotency-Key": "1"}
    )
    assert (status, answer["new"], answer["job"]["id"], answer["job"]["parent"]) == (200, True, 2, 1)
    status, again = await api.call(
        "POST", "/api/v1/jobs/1/actions", f"{ONE}/actions", json={"action": "reroll"}, headers={"Idempotency-Key": "1"}
    )
    assert again["job"]["id"] == 2
    status, answer = await api.call(
        "POST", "/api/v1/jobs/1/actions", f"{ONE}/actions", json={"action": "favourite", "index": 1}
    )
    assert [one["favourite"] for one in answer["job"]["pictures"]] == [False, True]

    status, answer = await api.call("POST", "/api/v1/jobs/1/cancel", f"{ONE}/cancel")
    assert (status, answer["state"]) == (200, "finished")
    assert await api.call("DELETE", "/api/v1/jobs/1", ONE) == (204, {})
    status, answer = await api.call("GET", "/api/v1/jobs/1", ONE)
    assert (status, error_of(answer)[0]) == (404, "refusal.job.not_found")
    streams = {("GET", f"{ONE}/events"), ("GET", "/api/v1/events"), ("GET", f"{ONE}/pictures/{{index}}")}
    described = {(m.upper(), path) for path, entry in api.document["paths"].items() for m in entry}
    assert described - api.called == streams


async def test_a_waiting_job_is_cancelled_and_followed(app: WebHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "POLL_SECONDS", 0.01)
    api = await Documented.of(app)
    app.gate.shut()
    status, job = await api.call("POST", "/api/v1/jobs?wait=0.05", "/api/v1/jobs", json={"prompt": "a red apple"})
    assert status == 201
    assert job["state"] in {"queued", "running"}
    schema = {"$ref": "#/components/schemas/JobAnswer", "components": api.document["components"]}
    async with app.client.get("/api/v1/jobs/1/events") as one, app.client.get("/api/v1/events") as all_jobs:
        following_all = aiter(events(all_jobs))
        assert (await anext(following_all)).kind == "comment"
        _, cancelled = await api.call("POST", "/api/v1/jobs/1/cancel", f"{ONE}/cancel")
        assert cancelled["state"] == "cancelled"
        seen = [event async for event in events(one)]
        changed = await anext(following_all)
    assert [event.kind for event in seen][-2:] == ["job", "end"]
    assert seen[-2].data["job"]["state"] == "cancelled"
    assert changed.data["job"]["id"] == 1
    for event in (*seen[:-1], changed):
        Draft202012Validator(schema).validate(event.data["job"])
    assert await app.charged() == 0


async def test_a_large_seed_is_text_and_loses_no_digit(app: WebHarness) -> None:
    api = await Documented.of(app)
    job = await drawn(api, seed=str(2**63 - 1))
    assert (job["request"]["seed"], job["request"]["seed_text"]) == (None, "9223372036854775807")
    assert job["pictures"][0]["seed_text"] == "9223372036854775807"
    job = await drawn(api, seed=2**53 - 1)
    assert job["request"]["seed"] == 2**53 - 1


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({"width": 1000, "height": 500, "snap": True}, (512, 256)),
        ({"size": "70x70", "snap": True}, (64, 64)),
        ({"size": "3:4", "snap": True}, (160, 224)),
        ({"size": "portrait"}, (160, 224)),
        ({"snap": True}, (192, 192)),
    ],
)
async def test_a_size_is_moved_to_the_grid_when_asked(app: WebHarness, asked: Json, size: tuple[int, int]) -> None:
    job = await drawn(await Documented.of(app), **asked)
    assert (job["request"]["width"], job["request"]["height"]) == size


async def test_a_key_is_one_job_and_means_one_request(app: WebHarness) -> None:
    api = await Documented.of(app)
    key = {"Idempotency-Key": "order 1"}
    first = await api.call("POST", "/api/v1/jobs", json={"prompt": "a red apple"}, headers=key)
    again = await api.call("POST", "/api/v1/jobs", json={"prompt": "a red apple"}, headers=key)
    assert first[0] == again[0] == 201
    assert first[1]["id"] == again[1]["id"]
    status, answer = await api.call("POST", "/api/v1/jobs", json={"prompt": "a green apple"}, headers=key)
    assert (status, error_of(answer)[0]) == (409, "refusal.event.other")
    assert await app.count("jobs") == 1


async def test_a_key_at_another_job_is_another_request(app: WebHarness) -> None:
    api = await Documented.of(app)
    jobs = [(await drawn(api))["id"] for _ in range(2)]
    new = []
    for job in jobs:
        for _ in range(2):
            status, answer = await app.post(
                f"/api/v1/jobs/{job}/actions", {"action": "reroll"}, headers={"Idempotency-Key": "again"}
            )
            assert status == 200, answer
            new.append((answer["job"]["id"], answer["job"]["parent"]))
    assert new == [(3, jobs[0]), (3, jobs[0]), (4, jobs[1]), (4, jobs[1])]


async def test_pictures_come_in_base64_and_from_stored_jobs(app: WebHarness) -> None:
    api = await Documented.of(app)
    job = await drawn(
        api, image=encoded(picture(96, 64, GREEN)), mask=f"data:image/png;base64,{encoded(half_mask())}", strength=1
    )
    async with app.client.get(job["pictures"][0]["url"]) as response:
        assert opened(await response.read()).convert("RGB").getpixel((5, 5)) == GREEN
    job = await drawn(api, references=[encoded(picture(64, 64, colour)) for colour in (RED, BLUE)])
    assert (job["request"]["model"], job["request"]["references"]) == ("editor", 2)
    await drawn(api, start="1", strength=0.5)
    assert app.engine.painted[-1].image


@pytest.mark.parametrize(
    ("body", "status", "key"),
    [
        ({}, 400, "refusal.web.body"),
        ({"prompt": "x", "colour": "red"}, 400, "refusal.web.body"),
        ({"prompt": "x", "webhook": {"url": "http://a", "more": 1}}, 400, "refusal.web.body"),
        ({"prompt": "x", "width": 64}, 400, "refusal.web.body"),
        ({"prompt": "x", "width": 64, "height": 64, "size": "64x64"}, 400, "refusal.web.body"),
        ({"prompt": "x", "image": "no base64!"}, 400, "refusal.web.body"),
        ({"prompt": "x", "image": encoded(b"no picture")}, 400, "refusal.image.unreadable"),
        ({"prompt": "x", "size": "70x70"}, 400, "refusal.size.off_grid"),
        ({"prompt": "x", "count": 17}, 400, "refusal.count.range"),
        ({"prompt": "x", "count": 2**63}, 400, "refusal.web.body"),
        ({"prompt": "x", "steps": 2**62}, 400, "refusal.steps.range"),
        ({"prompt": "x", "seed": 10**4000}, 400, "refusal.seed.range"),
        ({"prompt": "x", "guidance": 1e300}, 400, "refusal.guidance.not_number"),
        ({"prompt": "x", "seed": 1.5}, 400, "refusal.web.body"),
        ({"prompt": ["x"]}, 400, "refusal.web.body"),
        ({"prompt": "x", "model": "nothing"}, 400, "refusal.model.unknown"),
        ({"prompt": "x", "webhook": {"url": "ftp://example.org/"}}, 400, "refusal.outbound.url"),
        ({"prompt": "x", "webhook": {"url": "http://a", "secret": "whsec_" + "x" * 33}}, 400, "refusal.web.body"),
    ],
)
async def test_a_wrong_request_is_refused_by_its_key(app: WebHarness, body: Json, status: int, key: str) -> None:
    api = await Documented.of(app)
    found, answer = await api.call("POST", "/api/v1/jobs", json=body)
    assert (found, error_of(answer)[0]) == (status, key)
    assert await app.count("jobs") == 0
    assert await app.count("webhooks") == 0


async def test_refusals_are_in_the_language_of_the_request(app: WebHarness) -> None:
    api = await Documented.of(app)
    _, answer = await api.call("GET", "/api/v1/jobs/9", ONE, headers={"Accept-Language": "zh-CN"})
    assert not answer["error"]["text"].isascii()


@pytest.mark.parametrize("path", ["/api/v1/jobs/1?wait=x", "/api/v1/jobs/1?wait=-1", "/api/v1/jobs/1?wait="])
async def test_a_wait_is_a_number(app: WebHarness, path: str) -> None:
    assert (await app.get(path))[0] == 400


async def test_waiting_ends_when_the_job_does(app: WebHarness) -> None:
    app.gate.shut()
    asking = asyncio.ensure_future(app.post("/api/v1/jobs?wait=60", {"prompt": "a red apple"}))
    await app.until(lambda: app.watched() == 1)
    app.gate.open()
    assert (await asking)[1]["state"] == "finished"
