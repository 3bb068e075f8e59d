"""Live cards: their order, their end, and what is left when a browser leaves or the service stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientError, web

from adapters.web import sse
from bot.core.errors import NotFound
from tests.unit.adapters.web.harness import Event, WebHarness, error_of, events

PATIENCE = 10.0
"""Seconds until a test gives up on what should happen by itself."""


async def test_cards_come_in_order_and_then_the_end(held: WebHarness) -> None:
    job = (await held.ask(count="2"))["job_id"]
    async with held.client.get(f"/api/jobs/{job}/events") as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        assert response.headers["Cache-Control"] == "private, no-cache"
        seen: list[Event] = []
        stream = events(response)
        async with asyncio.timeout(PATIENCE):
            async for event in stream:
                seen.append(event)
                if event.kind == "card":
                    held.gate.let(1)
    assert seen[0].data == {"ms": sse.RETRY_MS}
    assert [event.kind for event in seen] == ["retry", *["card"] * (len(seen) - 2), "end"]
    cards = [event.data["card"] for event in seen[1:-1]]
    assert {card["job_id"] for card in cards} == {job}
    assert [card["final"] for card in cards] == [False] * (len(cards) - 1) + [True]
    progress = [card["progress"] for card in cards if card["progress"] is not None]
    assert progress == sorted(progress)
    assert len(set(progress)) > 2, "it was seen to move"
    tones = [card["tone"] for card in cards]
    assert tones == sorted(tones, key=["waiting", "running", "done"].index)
    assert len(cards[-1]["pictures"]) == 2
    assert held.watched() == 0


async def test_a_job_that_has_ended_is_one_card_and_the_end(app: WebHarness) -> None:
    job = (await app.drawn())["job_id"]
    async with app.client.get(f"/api/jobs/{job}/events") as response:
        assert [event.kind async for event in events(response)] == ["retry", "card", "end"]


async def test_a_cancelled_job_ends_its_stream(held: WebHarness) -> None:
    job = (await held.ask())["job_id"]
    async with held.client.get(f"/api/jobs/{job}/events") as response:
        seen = []
        async for event in events(response):
            seen.append(event)
            if len(seen) == 2:
                await held.press(f"easel:cancel:{job}")
    assert [seen[-2].data["card"]["tone"], seen[-1].kind] == ["stopped", "end"]


async def test_several_browsers_see_the_same_end(held: WebHarness) -> None:
    job = (await held.ask())["job_id"]
    watching = [asyncio.ensure_future(held.final(job)) for _ in range(4)]
    await held.until(held.watched)
    held.gate.open()
    cards = await asyncio.gather(*watching)
    assert all(card == cards[0] for card in cards)


async def test_the_card_is_in_the_language_of_the_request_for_it(app: WebHarness) -> None:
    status, answer = await app.post("/api/draw?lang=zh", {"key": app.key(), "prompt": "a cat"})
    assert status == 201
    assert "画好了" in (await app.final(answer["card"]["job_id"]))["status"]


@pytest.mark.parametrize("job", ["1", "0", "-1", "1.0", "x", "９", "9" * 30, "9" * 5000, "1%2F2", "%00", "../1"])
async def test_what_is_not_there_is_refused_before_the_stream(app: WebHarness, job: str) -> None:
    for path in (f"/api/jobs/{job}/events", f"/api/jobs/{job}"):
        status, answer = await app.get(path)
        assert status == 404
        assert error_of(answer)[0] in {"refusal.job.not_found", "refusal.web.not_found"}
    assert app.watched() == 0


async def test_head_does_not_wait_for_a_job(held: WebHarness) -> None:
    job = (await held.ask())["job_id"]
    async with asyncio.timeout(PATIENCE), held.client.head(f"/api/jobs/{job}/events") as response:
        assert response.status == 405
    async with held.client.head(f"/api/jobs/{job}") as response:
        assert response.status == 200


async def test_a_quiet_stream_is_kept_open(held: WebHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "BEAT_SECONDS", 0.01)
    job = (await held.ask())["job_id"]
    await held.until(lambda: held.gate.reached)
    async with held.client.get(f"/api/jobs/{job}/events") as response:
        kinds = []
        async for event in events(response):
            kinds.append(event.kind)
            if kinds.count("comment") == 3:
                held.gate.open()
    assert kinds[-2:] == ["card", "end"]


async def test_a_browser_that_leaves_leaves_nothing_behind(held: WebHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "BEAT_SECONDS", 0.01)
    job = (await held.ask())["job_id"]
    await held.until(lambda: held.gate.reached)
    before = held.answering()
    for _ in range(3):
        response = await held.client.get(f"/api/jobs/{job}/events")
        await anext(events(response))
        await held.until(held.watched)
        response.close()
    await held.until(lambda: not held.watched())
    await held.until(lambda: held.answering() <= before)
    held.gate.open()
    assert len((await held.final(job))["pictures"]) == 1, "the job goes on"


async def test_a_stop_ends_streams_at_once(held: WebHarness) -> None:
    job = (await held.ask())["job_id"]
    await held.until(lambda: held.gate.reached)
    response = await held.client.get(f"/api/jobs/{job}/events")
    stream = events(response)
    assert [(await anext(stream)).kind, (await anext(stream)).kind] == ["retry", "card"]
    # One that waits for its streams takes as long as the job does, and here that is for ever.
    async with asyncio.timeout(PATIENCE):
        await held.server.close()
    assert [event.kind async for event in stream] == [], "no end is said: the browser comes back to what goes on"
    assert held.watched() == 0


async def test_a_stop_leaves_no_stream_that_is_just_opening(held: WebHarness) -> None:
    job = (await held.ask())["job_id"]
    await held.until(lambda: held.gate.reached)
    asking = asyncio.ensure_future(held.client.get(f"/api/jobs/{job}/events"))
    await held.until(held.watched)
    async with asyncio.timeout(PATIENCE):
        await held.server.close()
        await asyncio.gather(asking, return_exceptions=True)
    assert held.watched() == 0


@pytest.mark.parametrize("error", [NotFound("refusal.job.not_found"), RuntimeError("the disk's secret name")])
async def test_a_stream_that_breaks_in_the_middle_just_ends(
    held: WebHarness, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job = (await held.ask())["job_id"]
    await held.until(lambda: held.gate.reached)
    card = await held.studio.card(held.actor, job)

    async def watch(*_: Any, **__: Any) -> AsyncIterator[Any]:
        yield card
        raise error

    monkeypatch.setattr(held.studio, "watch", watch)
    async with held.client.get(f"/api/jobs/{job}/events") as response:
        text = await response.text()
    assert text.count("event:") == 1
    assert "event: card" in text
    assert "HTTP/1.1" not in text
    assert "secret" not in text
    assert "the stream of a job broke" in caplog.text
    # The connection is whole: another request goes through.
    assert (await held.get(f"/api/jobs/{job}"))[0] == 200


async def test_more_streams_than_may_be_are_refused_and_the_rest_goes_on(
    held: WebHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "MOST", 2)
    job = (await held.ask())["job_id"]
    await held.until(lambda: held.gate.reached)
    streams = [await held.client.get(f"/api/jobs/{job}/events") for _ in range(2)]
    async with held.client.get(f"/api/jobs/{job}/events") as response:
        assert response.status == 503
        assert response.headers["Retry-After"] == "2"
        assert error_of(await response.json())[0] == "unavailable.web.streams"
    assert (await held.get("/readyz"))[0] == 200
    held.gate.open()
    for stream in streams:
        assert "event: end" in await stream.text()
    assert (await held.final(job))["final"]


async def test_a_browser_that_takes_nothing_is_left(held: WebHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stuck(*_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(sse, "SEND_SECONDS", 0.001)
    # As when the other side's window is full.
    monkeypatch.setattr(web.StreamResponse, "write", stuck)
    job = (await held.ask())["job_id"]
    await held.until(lambda: held.gate.reached)
    response = await held.client.get(f"/api/jobs/{job}/events")
    with pytest.raises(ClientError):
        async with asyncio.timeout(PATIENCE):
            await response.read()
    await held.until(lambda: not held.watched())


async def test_unfinished_jobs_are_all_there_those_that_are_drawn_first(held: WebHarness) -> None:
    jobs = [(await held.ask(f"picture {n}", size=f"{64 + 16 * n}x64"))["job_id"] for n in range(26)]
    await held.until(lambda: held.gate.reached)
    async with held.db.read() as tx:
        rows = await tx.execute_fetchall("SELECT id FROM jobs WHERE state = 'running' ORDER BY id")
    running = [row[0] for row in rows]
    assert 0 < len(running) < len(jobs)
    status, answer = await held.get("/api/unfinished")
    assert status == 200
    found = [card["job_id"] for card in answer["cards"]]
    assert found == [*running, *(job for job in jobs if job not in running)]
    # What was only handed over says that it waits.
    assert {card["tone"] for card in answer["cards"]} == {"waiting"}
    assert {card["progress"] for card in answer["cards"]} == {None}
    held.gate.open()
    for job in jobs:
        await held.final(job)
    assert (await held.get("/api/unfinished"))[1]["cards"] == []
