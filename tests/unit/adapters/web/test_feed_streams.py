"""The stream of a person's feed: changes of every job, resumption after a break, and readers who do not keep up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import ClientResponse

from adapters.web import feed_streams
from bot.core.errors import Unavailable
from bot.core.messages import EventRef
from bot.core.people import Place
from bot.core.requests import DrawForm
from tests.unit.adapters.web.harness import Event, Json, WebHarness, error_of, events

PATIENCE = 10.0
"""Seconds until a test gives up on what should happen by itself."""


@asynccontextmanager
async def reading(app: WebHarness, last: str = "", after: str = "") -> AsyncIterator[AsyncIterator[Event]]:
    """Open the stream as a browser does; ``last`` is the id of the last event that it has read."""
    headers = {"Last-Event-ID": last} if last else {}
    async with app.client.get("/api/events", params={"after": after} if after else {}, headers=headers) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        assert "Content-Encoding" not in response.headers
        async with asyncio.timeout(PATIENCE):
            yield events(response)


async def until_final(stream: AsyncIterator[Event], job: int) -> list[Json]:
    """Read until the job's card is final; returns all of its cards."""
    cards = []
    async for event in stream:
        if event.kind == "card" and event.data["card"]["job_id"] == job:
            cards.append(event.data["card"])
            if cards[-1]["final"]:
                return cards
    raise AssertionError("the stream ended")


async def test_a_first_stream_says_to_fetch_the_feed_and_how_the_engine_is(app: WebHarness) -> None:
    async with reading(app) as stream:
        seen = [await anext(stream) for _ in range(3)]
    assert [event.kind for event in seen] == ["retry", "reset", "engine"]
    assert seen[2].data["engine"]["phase"] == "warm"
    assert seen[1].id == seen[2].id != ""


async def test_jobs_that_come_later_are_in_the_stream_to_their_end(held: WebHarness) -> None:
    async with reading(held) as stream:
        assert [(await anext(stream)).kind for _ in range(3)] == ["retry", "reset", "engine"]
        job = (await held.ask(count="2", steps="4"))["job_id"]
        cards = []
        async for event in stream:
            if event.kind == "card":
                cards.append(event.data["card"])
                held.gate.let(1)
                if cards[-1]["final"]:
                    break
    assert {card["job_id"] for card in cards} == {job}
    steps = [card["step"] for card in cards if card["step"] is not None]
    assert steps == sorted(steps)
    assert len(set(steps)) > 2, "it was seen to move"
    assert {card["steps"] for card in cards} == {4}
    assert len(cards[-1]["pictures"]) == 2
    _, answer = await held.get("/api/feed")
    assert answer["cards"] == [cards[-1]]


async def test_a_job_of_another_client_of_the_same_person_is_there_too(app: WebHarness) -> None:
    async with reading(app) as stream:
        await anext(stream)
        shown = await app.studio.draw(app.actor, Place("api", None, "key"), DrawForm("a red apple"), EventRef("api:1"))
        cards = await until_final(stream, shown.job_id)
    assert cards[-1]["platform"] == "web"


async def test_jobs_of_others_are_not_there(app: WebHarness) -> None:
    other = replace(app.actor, user_id="other", is_owner=False)
    async with reading(app) as stream:
        await anext(stream)
        foreign = await app.studio.draw(other, Place("web", None, "page"), DrawForm("secret"), EventRef("web:other"))
        async for card in app.studio.watch(other, foreign.job_id):
            if card.final:
                break
        own = (await app.ask("mine"))["job_id"]
        seen = []
        async for event in stream:
            seen.append(event)
            if event.kind == "card" and event.data["card"]["final"]:
                break
    assert {event.data["card"]["job_id"] for event in seen if event.kind == "card"} == {own}
    assert "secret" not in str(seen)
    assert [card["job_id"] for card in (await app.get("/api/feed"))[1]["cards"]] == [own]


async def test_a_stream_resumes_after_the_last_event_without_a_gap(held: WebHarness) -> None:
    first = (await held.ask("first"))["job_id"]
    async with reading(held) as stream:
        last = [await anext(stream) for _ in range(4)][-1]
    assert (last.kind, last.data["card"]["job_id"]) == ("card", first)
    await held.until(lambda: not held.previewed())
    second = (await held.ask("second"))["job_id"]
    held.gate.open()
    await held.final(second)
    await held.final(first)
    async with reading(held, last.id) as stream:
        seen: dict[int, Json] = {}
        async for event in stream:
            assert event.kind in {"retry", "card"}, "it has missed nothing: there is no reset"
            if event.kind == "card":
                seen[event.data["card"]["job_id"]] = event.data["card"]
            if len(seen) == 2 and all(card["final"] for card in seen.values()):
                break
    assert set(seen) == {first, second}


async def test_a_stream_goes_on_where_the_feed_was_fetched(app: WebHarness) -> None:
    _, feed = await app.get("/api/feed")
    job = (await app.drawn())["job_id"]
    async with reading(app, after=feed["at"]) as stream:
        assert (await anext(stream)).kind == "retry"
        assert (await until_final(stream, job))[-1]["pictures"]


@pytest.mark.parametrize("last", ["x", "abcdef012345-1", "0", "-1", "9" * 40])
async def test_an_unknown_event_means_to_fetch_the_feed(app: WebHarness, last: str) -> None:
    async with reading(app, last) as stream:
        assert [(await anext(stream)).kind for _ in range(2)] == ["retry", "reset"]


async def test_a_deleted_job_is_gone(app: WebHarness) -> None:
    job = (await app.drawn())["job_id"]
    async with reading(app) as stream:
        assert [(await anext(stream)).kind for _ in range(3)] == ["retry", "reset", "engine"]
        assert (await app.press(f"easel:deletenow:{job}"))[0] == 200
        event = await anext(stream)
    assert (event.kind, event.data) == ("gone", {"job_id": job})


async def test_previews_are_made_only_while_somebody_reads(held: WebHarness) -> None:
    job = (await held.ask(steps="50"))["job_id"]
    await held.until(lambda: held.gate.reached)
    assert not held.previewed()
    async with reading(held) as stream:
        async for event in stream:
            if event.kind == "card":
                if event.data["card"]["coming"]["previews"]:
                    break
                held.gate.let(1)
    await held.until(lambda: not held.previewed())
    held.gate.open()
    await held.final(job)


async def test_a_change_of_the_engine_is_told(app: WebHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_streams, "TICK_SECONDS", 0.01)
    async with reading(app) as stream:
        for _ in range(3):
            await anext(stream)
        state = app.engine.state()
        monkeypatch.setattr(app.engine, "state", lambda: replace(state, problem="no device"))
        event = await anext(stream)
    assert (event.kind, event.data["engine"]["problem"]) == ("engine", "no device")


async def test_a_quiet_stream_is_kept_open(app: WebHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_streams, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(feed_streams, "TICK_SECONDS", 0.01)
    async with reading(app) as stream:
        seen = [(await anext(stream)).kind for _ in range(5)]
    assert seen[3:] == ["comment", "comment"]


async def test_a_reader_whose_account_gets_another_person_is_sent_away(
    app: WebHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_streams, "BEAT_SECONDS", 0.01)
    job = (await app.drawn())["job_id"]
    async with reading(app) as stream:
        await anext(stream)
        async with app.db.write() as tx:
            await tx.execute_fetchall("INSERT INTO people (name, created_at) VALUES ('', 0)")
            await tx.execute_fetchall("UPDATE accounts SET person_id = (SELECT max(id) FROM people)")
        assert [event.kind async for event in stream][-1] in {"engine", "reset", "comment"}
    assert (await app.get("/api/feed"))[1]["cards"] == []
    assert job


async def test_a_stop_ends_streams_at_once(held: WebHarness) -> None:
    async with reading(held) as stream:
        for _ in range(3):
            await anext(stream)
        async with asyncio.timeout(PATIENCE):
            await held.server.close()
        assert [event.kind async for event in stream] == []


async def test_more_streams_than_may_be_are_refused(app: WebHarness) -> None:
    app.streams._most = 2
    streams = [await app.client.get("/api/events") for _ in range(2)]
    async with app.client.get("/api/events") as response:
        assert response.status == 503
        assert response.headers["Retry-After"] == "2"
        assert error_of(await response.json())[0] == "unavailable.web.streams"
    for stream in streams:
        stream.close()
    await app.until(lambda: not app.streams.readers)
    async with reading(app) as again:
        assert (await anext(again)).kind == "retry"


async def test_a_reader_who_takes_nothing_slows_no_other_and_is_disconnected(
    app: WebHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_streams, "TICK_SECONDS", 0.01)
    stuck = await app.client.get("/api/events")
    await app.until(lambda: app.streams.readers == 1)
    (reader,) = next(iter(app.streams._people.values())).readers
    transport = reader.request.transport
    assert transport is not None
    # As when the other side's window is full.
    monkeypatch.setattr(type(transport), "get_write_buffer_size", lambda self: 1 if self is transport else 0)
    async with reading(app) as stream:
        await anext(stream)
        job = (await app.ask())["job_id"]
        assert (await until_final(stream, job))[-1]["final"]
        monkeypatch.setattr(feed_streams, "STALLED_SECONDS", 0.0)
        await app.until(lambda: app.streams.readers == 1)
    assert isinstance(stuck, ClientResponse)
    stuck.close()


async def test_after_a_fault_pages_fetch_the_feed_again(
    app: WebHarness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with reading(app) as stream:
        assert [(await anext(stream)).kind for _ in range(3)] == ["retry", "reset", "engine"]
        with monkeypatch.context() as broken:
            broken.setattr(feed_streams, "card_json", lambda _card: 1 / 0)
            job = (await app.ask())["job_id"]
            assert (await anext(stream)).kind == "reset"
        await app.final(job)
        assert (await app.press(f"easel:deletenow:{job}"))[0] == 200
        async for event in stream:
            if event.kind == "gone":
                break
    assert "could not be rendered" in caplog.text


async def test_a_database_that_can_not_be_read_for_a_while_costs_no_change(
    app: WebHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_streams, "TICK_SECONDS", 0.01)
    asked: list[object] = []

    async def unreadable(jobs: object) -> None:
        asked.append(jobs)
        raise Unavailable("unavailable.database")

    async with reading(app) as stream:
        await anext(stream)
        with monkeypatch.context() as broken:
            broken.setattr(app.studio, "owners_of", unreadable)
            job = (await app.drawn())["job_id"]
            await app.until(lambda: len(asked) > 2)
        assert (await until_final(stream, job))[-1]["pictures"]
