"""Webhooks are signed, sent once a job has ended, tried again, and survive a kill."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import openai
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from openai import OpenAI
from yarl import URL

from adapters.web.api_v1 import webhooks
from adapters.web.outbound import OutboundClient
from bot.core.messages import EventRef
from bot.webhooks import service
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import Json, WebHarness, settings_of

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr"


class Receiver:
    """Notes what it gets, and answers with the next of its statuses."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []

    async def answer(self, request: web.Request) -> web.Response:
        """Answer a webhook."""
        self.got.append((dict(request.headers), await request.read()))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 204)

    @property
    def types(self) -> list[str]:
        """The types of what has come."""
        return [json.loads(body)["type"] for _, body in self.got]


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    receiver, app = Receiver(), web.Application()
    app.router.add_post("/hook", receiver.answer)
    async with TestServer(app) as server:
        yield receiver, str(server.make_url("/hook"))


def value(app: WebHarness, outcome: str) -> float | None:
    return app.registry.get_sample_value("easel_webhooks_total", {"outcome": outcome})


async def ask(app: WebHarness, url: str, **more: object) -> Json:
    status, job = await app.post("/api/v1/jobs", {"prompt": "a red apple", "webhook": {"url": url, **more}})
    assert status == 201, job
    return job


async def until_no_row(app: WebHarness) -> None:
    async with asyncio.timeout(20):
        while True:
            if not await app.count("webhooks"):
                return
            await asyncio.sleep(0.005)


async def test_a_webhook_is_signed_as_others_check_it(app: WebHarness, receiver: tuple[Receiver, str]) -> None:
    job = await ask(app, receiver[1], secret=SECRET)
    assert job["webhook_secret"] is None
    made = (await ask(app, receiver[1]))["webhook_secret"]
    await app.until(lambda: len(receiver[0].got) == 2)
    client = OpenAI(api_key="unused")
    for (headers, body), secret in zip(sorted(receiver[0].got, key=lambda one: one[1]), (SECRET, made), strict=True):
        sent = json.loads(body)
        assert sent["type"] == "job.finished"
        assert sent["job"]["pictures"][0]["url"].startswith("/api/v1/jobs/")
        client.webhooks.verify_signature(body.decode(), headers, secret=secret)
        with pytest.raises(openai.InvalidWebhookSignatureError):
            client.webhooks.verify_signature(body.decode() + " ", headers, secret=secret)
    await until_no_row(app)
    await app.until(lambda: value(app, "delivered") == 2)


async def test_a_cancelled_job_is_told_too(app: WebHarness, receiver: tuple[Receiver, str]) -> None:
    app.gate.shut()
    job = await ask(app, receiver[1])
    assert not receiver[0].got
    await app.post(f"/api/v1/jobs/{job['id']}/cancel", {})
    await app.until(lambda: receiver[0].types == ["job.cancelled"])


async def test_it_is_tried_again_and_given_up(
    app: WebHarness, receiver: tuple[Receiver, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PAUSES", (0.0, 0.0))
    receiver[0].statuses = [500, 302, 503]
    await ask(app, receiver[1])
    await app.until(lambda: value(app, "given_up") == 1)
    assert len(receiver[0].got) == 3
    assert (value(app, "retried"), value(app, "given_up"), value(app, "delivered")) == (2, 1, None)
    # The id is the same each time, so that a receiver knows what comes twice.
    assert len({headers["webhook-id"] for headers, _ in receiver[0].got}) == 1
    receiver[0].statuses = [410]
    await ask(app, receiver[1])
    await app.until(lambda: value(app, "given_up") == 2)
    assert value(app, "retried") == 2
    await until_no_row(app)


async def test_one_that_can_t_be_sent_keeps_back_no_other(
    app: WebHarness, receiver: tuple[Receiver, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    post = OutboundClient.post

    async def broken(self: OutboundClient, url: URL, body: bytes, headers: Mapping[str, str]) -> int:
        if url.host == "broken.example":
            raise UnicodeError("label empty or too long")
        return await post(self, url, body, headers)

    monkeypatch.setattr(OutboundClient, "post", broken)
    app.gate.shut()
    for _ in range(webhooks.AT_ONCE):
        await ask(app, "http://broken.example/")
    await ask(app, receiver[1])
    app.gate.open()
    await app.until(lambda: receiver[0].types == ["job.finished"])
    await app.until(lambda: value(app, "retried") == webhooks.AT_ONCE)


@pytest.mark.parametrize("host", ["a..b", "a" * 64, "xn--a", "a\u0000b"])
async def test_names_that_no_resolver_takes_are_refused(app: WebHarness, host: str) -> None:
    for body in ({"webhook": {"url": f"http://{host}/"}}, {"image": f"http://{host}/"}):
        status, answer = await app.post("/api/v1/jobs", {"prompt": "x", **body})
        assert (status, answer["error"]["key"]) == (400, "refusal.outbound.url")


async def test_nothing_is_sent_for_a_refused_request(app: WebHarness, receiver: tuple[Receiver, str]) -> None:
    status, _ = await app.post("/api/v1/jobs", {"prompt": "x", "count": 99, "webhook": {"url": receiver[1]}})
    assert status == 400
    assert await app.count("webhooks") == 0


async def test_the_same_key_again_sends_nothing_twice(app: WebHarness, receiver: tuple[Receiver, str]) -> None:
    body = {"prompt": "a red apple", "webhook": {"url": receiver[1]}}
    for _ in range(2):
        status, _ = await app.post("/api/v1/jobs?wait=30", body, headers={"Idempotency-Key": "order 1"})
        assert status == 201
    await until_no_row(app)
    assert len(receiver[0].got) == 1


async def test_a_kill_loses_no_webhook(
    tmp_path: Path, receiver: tuple[Receiver, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def harness() -> WebHarness:
        gate = StepGate()
        gate.open()
        return WebHarness(tmp_path, FakeEngine(pause=gate), gate, settings_of(private_targets=True))

    with monkeypatch.context() as patched:
        patched.setattr(webhooks.WebhookSender, "start", lambda _: None)
        async with harness().opened() as app:
            job = await ask(app, receiver[1])
            await app.final(job["id"])
            # A request that was refused while the service was killed leaves a webhook without a job.
            await app.studio.want_webhook(EventRef("web:lost"), receiver[1], SECRET)
            assert await app.count("webhooks") == 2
    async with harness().opened() as app:
        await app.until(lambda: receiver[0].types == ["job.finished"])
        async with app.db.write() as tx:
            await tx.execute_fetchall("UPDATE webhooks SET created_at = 0")
    async with harness().opened() as app:
        await until_no_row(app)


async def test_a_deleted_job_is_not_told(app: WebHarness, receiver: tuple[Receiver, str]) -> None:
    receiver[0].statuses = [500]
    job = await ask(app, receiver[1])
    await app.until(lambda: len(receiver[0].got) == 1)
    async with app.client.delete(f"/api/v1/jobs/{job['id']}") as response:
        assert response.status == 204
    assert await app.count("webhooks") == 0


async def test_private_networks_are_refused_by_default(tmp_path: Path) -> None:
    gate = StepGate()
    gate.open()
    async with WebHarness(tmp_path, FakeEngine(pause=gate), gate, settings_of()).opened() as app:
        for field in ({"webhook": {"url": "http://127.0.0.1/"}}, {"image": "http://[::ffff:10.0.0.1]/"}):
            status, answer = await app.post("/api/v1/jobs", {"prompt": "x", **field})
            assert (status, answer["error"]["key"]) == (400, "refusal.outbound.private")
        # A name is checked when the webhook is sent.
        await ask(app, "http://localhost:1/")
        await app.until(lambda: value(app, "retried") == 1)
        async with app.client.get("/metrics") as response:
            text = await response.text()
        assert 'easel_outbound_refused_total{use="webhook"} 2.0' in text
        assert 'easel_outbound_refused_total{use="picture"} 1.0' in text
