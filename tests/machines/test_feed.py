"""The stream of the feed: whatever changes, and whenever readers leave and return, they end with what the feed shows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast
from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from adapters.web import event_log, feed_streams
from adapters.web.feed_streams import FeedStreams
from bot.core.cards import Card, PendingImages, Tone
from bot.core.events import EventBus, PreviewDemand
from bot.core.people import Actor
from bot.delivery.live import Changes, Live
from bot.studio import Studio
from engine import contract

T = TypeVar("T")

ANN, BOB = 1, 2
JOBS = st.frozensets(st.integers(1, 8), min_size=1, max_size=5)
READER = st.integers(0, 2)
LIMIT = 4
"""Jobs that the log remembers here: few, so that readers often miss too much."""


@dataclass
class FakeStudio:
    """Jobs with a number for each of their states; even jobs are Bob's, and every reader is Ann."""

    live: Live
    jobs: dict[int, int] = field(default_factory=dict)
    hidden: set[int] = field(default_factory=set)
    broken: bool = False

    def owner(self, job_id: int) -> int:
        return BOB if job_id % 4 == 0 else ANN

    def visible(self) -> dict[int, str]:
        """What the feed shows to Ann."""
        return {
            job: str(state) for job, state in self.jobs.items() if self.owner(job) == ANN and job not in self.hidden
        }

    def changed_jobs(self) -> AbstractContextManager[Changes]:
        return self.live.subscribe_all()

    async def person_of(self, _actor: Actor) -> int:
        return ANN

    async def owners_of(self, job_ids: Collection[int]) -> Mapping[int, int]:
        await asyncio.sleep(0)
        return {job: self.owner(job) for job in job_ids if job in self.jobs}

    async def open_jobs(self, person_id: int, limit: int) -> tuple[int, ...]:
        return tuple(job for job in self.jobs if self.owner(job) == person_id)[:limit]

    async def cards_of(self, job_ids: Collection[int]) -> Mapping[int, Card]:
        await asyncio.sleep(0)
        shown = [job for job in job_ids if job in self.jobs and job not in self.hidden]
        return {job: Card(Tone.RUNNING, str(self.jobs[job]), job_id=job, coming=self.coming(job)) for job in shown}

    def coming(self, job_id: int) -> PendingImages | None:
        """A job is finished in every third state."""
        return None if self.jobs[job_id] % 3 == 2 else PendingImages(1, 64, 64)

    def view_previews(self, job_id: int) -> None:
        self.live.view_previews(job_id)

    def leave_previews(self, job_id: int) -> None:
        self.live.leave_previews(job_id)

    def engine(self) -> contract.EngineState:
        return contract.EngineState(contract.Phase.WARM, model="m", device="fake", precision="fp32")

    def text(self, key: str, _locale: str) -> str:
        return key


class Connection:
    """A stream as the service sees it: what was written, and whether the other side takes it."""

    def __init__(self, streams: FeedStreams, last: str) -> None:
        self.full = self.closed = False
        self.sent = bytearray()
        transport = Mock(spec=asyncio.Transport)
        transport.get_write_buffer_size.side_effect = lambda: int(self.full)
        transport.is_closing.side_effect = lambda: self.closed
        writer = Mock()
        for name in ("write", "write_eof", "write_headers", "drain"):
            setattr(writer, name, self._take if name == "write" else self._nothing)
        headers = {"Last-Event-ID": last} if last else {}
        self.request = make_mocked_request(
            "GET", "/api/events", headers=headers, writer=cast(Any, writer), transport=transport
        )
        self.answer: asyncio.Task[web.StreamResponse] = asyncio.ensure_future(streams.stream(self.request))

    async def _take(self, data: bytes, **_: Any) -> None:
        self.sent += data

    async def _nothing(self, *_: Any, **__: Any) -> None:
        pass

    def take(self, most: int) -> list[dict[str, str]]:
        """Return the next events, at most so many."""
        found: list[dict[str, str]] = []
        while len(found) < most and b"\n\n" in self.sent:
            block, _, rest = bytes(self.sent).partition(b"\n\n")
            self.sent[:] = rest
            fields = dict(line.split(": ", 1) for line in block.decode().split("\n"))
            if "event" in fields:
                found.append(fields)
        return found


class Reader:
    """A page: it applies events, and fetches the feed when it is told to."""

    def __init__(self) -> None:
        self.cards: dict[int, str] = {}
        self.numbers: dict[int, int] = {}
        self.last = ""
        self.connection: Connection | None = None
        self.stale = True
        self.fetched: tuple[str, dict[int, str]] | None = None

    def apply(self, event: dict[str, str]) -> None:
        """Take an event."""
        self.last = event["id"]
        number, data = int(self.last.rpartition("-")[2]), json.loads(event["data"])
        match event["event"]:
            case "card":
                job = data["card"]["job_id"]
                self.cards[job], self.numbers[job] = data["card"]["status"], number
            case "gone":
                self.cards.pop(data["job_id"], None)
                self.numbers[data["job_id"]] = number
            case "reset":
                self.stale, self.fetched = True, None

    def take_feed(self) -> None:
        """Take the fetched feed, except what is older than an event that has come since."""
        assert self.fetched is not None
        (at, cards), self.fetched = self.fetched, None
        token, _, number = at.rpartition("-")
        if self.last and self.last.rpartition("-")[0] != token:
            return  # of before a reset, which has asked for another
        later = {job for job, seen in self.numbers.items() if seen > int(number)}
        self.cards = {job: card for job, card in self.cards.items() if job in later}
        self.cards |= {job: card for job, card in cards.items() if job not in later}
        self.stale = False


class Feed(RuleBasedStateMachine):
    """Three pages of one person, and jobs that come, change, go and return."""

    runner: asyncio.Runner

    def run(self, work: Awaitable[T]) -> T:
        async def awaited() -> T:
            found = await work
            for _ in range(5):
                await asyncio.sleep(0)
            return found

        return self.runner.run(awaited())

    @initialize()
    def begin(self) -> None:
        bus = EventBus()
        self.demands: dict[int, bool] = {}
        bus.subscribe(PreviewDemand, lambda event: self.demands.update({event.job_id: event.wanted}))
        self.studio = FakeStudio(Live(bus))
        self.readers = [Reader() for _ in range(3)]

        async def make() -> None:
            self.streams = FeedStreams(cast(Studio, self.studio), 9)
            self.collecting = asyncio.ensure_future(self.streams.collect())

        self.run(make())
        for reader in range(3):
            self.connect(reader)
        self.send_and_read()

    @rule(jobs=JOBS)
    def change(self, jobs: frozenset[int]) -> None:
        for job in jobs:
            self.studio.jobs[job] = self.studio.jobs.get(job, -1) + 1
        self.run(self._wake(jobs))

    @rule(jobs=JOBS)
    def delete_or_undo(self, jobs: frozenset[int]) -> None:
        self.studio.hidden ^= jobs
        self.run(self._wake(jobs))

    @rule()
    def send(self) -> None:
        self.run(self.streams.send_changes())

    @rule()
    def send_and_read(self) -> None:
        self.send()
        for reader in range(3):
            self.read(reader, 100)

    @rule(jobs=JOBS)
    def change_while_all_are_away(self, jobs: frozenset[int]) -> None:
        for reader in range(3):
            self.disconnect(reader)
        self.send()
        self.change(jobs)
        self.send()
        for reader in range(3):
            self.connect(reader)

    @rule(reader=READER)
    def connect(self, reader: int) -> None:
        if self.readers[reader].connection is None:
            self.run(self._connect(self.readers[reader]))

    @rule(reader=READER, most=st.integers(1, 5))
    def read(self, reader: int, most: int) -> None:
        one = self.readers[reader]
        if one.connection is not None:
            for event in one.connection.take(most):
                one.apply(event)

    @rule(reader=READER)
    def disconnect(self, reader: int) -> None:
        """What was sent and not read is lost; the service finds it out when it sends."""
        one = self.readers[reader]
        if one.connection is not None:
            one.connection.closed, one.connection = True, None

    @rule(reader=READER, full=st.booleans())
    def fill(self, reader: int, full: bool) -> None:
        if (connection := self.readers[reader].connection) is not None:
            connection.full = full

    @rule(reader=READER)
    def ask_for_feed(self, reader: int) -> None:
        self.run(self._fetch(self.readers[reader]))

    @rule(reader=READER)
    def get_feed(self, reader: int) -> None:
        if self.readers[reader].fetched is not None:
            self.readers[reader].take_feed()

    @rule()
    def forget(self) -> None:
        """Time passes: the changes of people who do not read are forgotten."""
        self.run(self._forget())

    async def _forget(self) -> None:
        self.streams.forget_absent(asyncio.get_running_loop().time() + 2 * feed_streams.RESUME_SECONDS)

    async def _wake(self, jobs: frozenset[int]) -> None:
        for job in jobs:
            self.studio.live.wake(job)

    async def _connect(self, reader: Reader) -> None:
        reader.connection = Connection(self.streams, reader.last)

    async def _fetch(self, reader: Reader) -> None:
        at = await self.streams.mark(Actor("web", "ann"))
        reader.fetched = (at, self.studio.visible())

    def teardown(self) -> None:
        if not hasattr(self, "streams"):
            return
        for reader in self.readers:
            if reader.connection is None:
                self.run(self._connect(reader))
            assert reader.connection is not None
            reader.connection.full = False
        for _ in range(12):
            self.run(self.streams.send_changes())
            for reader in self.readers:
                assert reader.connection is not None
                for event in reader.connection.take(100):
                    reader.apply(event)
                if reader.fetched is not None:
                    reader.take_feed()
                if reader.stale:
                    self.run(self._fetch(reader))
        for reader in self.readers:
            assert not reader.stale
            assert reader.cards == self.studio.visible()
        unfinished = {job for job in self.studio.visible() if self.studio.coming(job) is not None}
        assert {job for job, wanted in self.demands.items() if wanted} == unfinished
        self.run(self.streams.close())
        assert not any(self.demands.values()), "nobody looks any more"
        self.collecting.cancel()
        for reader in self.readers:
            assert reader.connection is not None
            self.run(asyncio.wait({reader.connection.answer}))


def test_readers_end_with_what_the_feed_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "MOST_JOBS", LIMIT)
    monkeypatch.setattr(feed_streams, "actor_of", lambda _request: Actor("web", "ann"))
    monkeypatch.setattr(feed_streams, "locale_of", lambda _request: "en")
    with asyncio.Runner() as runner:
        Feed.runner = runner
        run_state_machine_as_test(
            Feed,
            settings=settings(
                max_examples=60,
                stateful_step_count=30,
                deadline=None,
                derandomize=True,
                phases=(Phase.explicit, Phase.generate),
                suppress_health_check=list(HealthCheck),
            ),
        )
