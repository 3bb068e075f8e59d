"""``/api/events``: one stream of Server-Sent Events for all jobs of a person, whatever client they come from.

A change is rendered once, however many people read. One task renders and sends; a reader who does not keep up is skipped
until its connection has room, and gets then the last state of each job, so that nothing is queued for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from aiohttp import hdrs, web

from adapters.web.event_log import EventLog
from adapters.web.identity import actor_of, locale_of
from adapters.web.person_limits import MOST_STREAMS, PersonLimit
from adapters.web.render import card_json, engine_json
from bot.core.cards import Card
from bot.core.errors import Unavailable
from bot.core.people import Actor
from bot.studio import Studio
from engine.contract import EngineState

BEAT_SECONDS = 15.0
"""Seconds of silence after which a comment is sent: proxies close silent connections, and it finds closed browsers."""

RETRY_MS = 2000
"""Milliseconds until browsers reconnect to a broken stream."""

STALLED_SECONDS = 30.0
"""Seconds after which a reader that takes nothing is disconnected."""

PACE_SECONDS = 0.05
READER_SECONDS = 0.0005
"""Least seconds between two rounds, and more for each reader: changes in between are one event. Sending takes about 80 µs
for each reader, so that however many they are, it takes a sixth of the event loop's time at most.
"""

TICK_SECONDS = 0.5
"""Seconds between two looks at the engine's state and at readers who lag behind."""

RESUME_SECONDS = 300.0
"""How long changes are remembered for a person after their last reader has left."""

MOST_LOGS = 1000
"""Most people whose changes are remembered while they do not read."""

OPEN_JOBS = 200
"""Most unfinished jobs of a person whose previews are made while they read."""

_AT_ONCE = 48 * 1024
"""Most bytes that are written to a connection without waiting: below the mark at which it makes its writer wait."""

_TURN = 16
"""Readers that are served before others get the event loop."""

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Reader:
    """An open stream.

    Attributes:
        request: Its request.
        response: Its response.
        locale: The language of what is not about a job.
        position: Number of the last change that was sent.
        spoke_at: When something was last sent.
        free_at: When everything was last seen to be taken.
        greeted: Whether the stream has begun.
        left: Set when the stream has ended.
        writing: Sends more than fits without waiting.
    """

    request: web.Request
    response: web.StreamResponse
    locale: str
    position: int
    spoke_at: float
    free_at: float
    greeted: bool = False
    left: asyncio.Event = field(default_factory=asyncio.Event)
    writing: asyncio.Task[None] | None = None


@dataclass(eq=False, slots=True)
class _Person:
    """A person who reads, or has read a moment ago.

    Attributes:
        log: The changes of their jobs.
        readers: Their open streams.
        previewed: The jobs whose previews are made for them.
        seen_at: When the last stream was opened or closed, or the feed was fetched.
    """

    log: EventLog
    seen_at: float
    readers: set[_Reader] = field(default_factory=set)
    previewed: set[int] = field(default_factory=set)


class FeedStreams:
    """The open streams, and what is remembered for those that reconnect."""

    def __init__(self, studio: Studio, most: int) -> None:
        """Args:
        studio: The core.
        most: Most streams; the other connections serve everything else.
        """
        self._studio = studio
        self._most = most
        self._own = PersonLimit(MOST_STREAMS)
        self._people: dict[int, _Person] = {}
        self._changed: set[int] = set()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        self._number = 0
        self._engine: EngineState | None = None
        self._engine_number = 0
        self._engine_texts: dict[str, str] = {}

    @property
    def readers(self) -> int:
        """The number of open streams."""
        return sum(len(person.readers) for person in self._people.values())

    def start(self) -> None:
        """Begin to watch for changes."""
        self._engine = self._studio.engine()
        self._tasks = [
            asyncio.create_task(self.collect(), name="feed changes"),
            asyncio.create_task(self._run(), name="feed streams"),
        ]

    async def close(self) -> None:
        """End all streams; browsers reconnect by themselves."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for person_id, person in self._people.items():
            for reader in tuple(person.readers):
                self._leave(person_id, reader)

    async def mark(self, actor: Actor) -> str:
        """Return the id of an event; a stream that resumes after it gives all that changes from now on."""
        person = self._person(await self._studio.person_of(actor))
        person.seen_at = self._now()
        return person.log.event_id(self._number)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Answer with a stream until its reader leaves or the service stops.

        It resumes after the event of ``Last-Event-ID``, or of ``?after=``. Without one, or where that event is too old,
        it begins with ``reset``: the reader has to fetch the feed.

        Raises:
            Unavailable: The most streams are open.
            TooManyRequests: The person has the most open.
        """
        actor, locale = actor_of(request), locale_of(request)
        person_id = await self._studio.person_of(actor)
        if self._closed or self.readers >= self._most:
            raise Unavailable("unavailable.web.streams", wait=RETRY_MS / 1000)
        person = self._person(person_id)
        last = request.headers.get("Last-Event-ID") or request.query.get("after", "")
        resumed = person.log.position(last, self._number)
        headers = {hdrs.CONTENT_TYPE: "text/event-stream", "X-Accel-Buffering": "no"}
        now = self._now()
        reader = _Reader(
            request,
            web.StreamResponse(headers=headers),
            locale,
            self._number if resumed is None else resumed,
            spoke_at=now,
            free_at=now,
        )
        greeting = f"retry: {RETRY_MS}\n\n".encode()
        if resumed is None:
            event_id = person.log.event_id(self._number)
            greeting += _event("reset", {}, event_id)
            greeting += self._engine_event(locale, event_id)
        try:
            with self._own.hold(actor), self._reading(person_id, person, reader):
                with contextlib.suppress(ConnectionResetError):
                    await reader.response.prepare(request)
                    await reader.response.write(greeting)
                    reader.greeted = True
                await self._watch_open_jobs(person_id, person)
                while await self._stays(reader) and await self._studio.person_of(actor) == person_id:
                    pass
        finally:
            if reader.writing is not None:
                reader.writing.cancel()
                await asyncio.gather(reader.writing, return_exceptions=True)
        return reader.response

    async def _stays(self, reader: _Reader) -> bool:
        """Wait a while; return whether the reader is still there. Then somebody may have linked or parted accounts."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BEAT_SECONDS):
                await reader.left.wait()
        return not reader.left.is_set()

    @contextlib.contextmanager
    def _reading(self, person_id: int, person: _Person, reader: _Reader) -> Iterator[None]:
        person.readers.add(reader)
        self._changed.update(person.log.take_unread())
        try:
            yield
        finally:
            self._leave(person_id, reader)

    async def _watch_open_jobs(self, person_id: int, person: _Person) -> None:
        """Render the person's unfinished jobs, so that their previews are made, unless they are already."""
        if len(person.readers) == 1:
            self._changed.update(await self._studio.open_jobs(person_id, OPEN_JOBS))
        self._wake.set()

    def _leave(self, person_id: int, reader: _Reader) -> None:
        reader.left.set()
        person = self._people.get(person_id)
        if person is None or reader not in person.readers:
            return
        person.readers.discard(reader)
        person.seen_at = self._now()
        if not person.readers:
            for job_id in person.previewed:
                self._studio.leave_previews(job_id)
            person.previewed.clear()

    def _person(self, person_id: int) -> _Person:
        person = self._people.get(person_id)
        if person is None:
            person = self._people[person_id] = _Person(EventLog(self._number), self._now())
        return person

    def forget_absent(self, now: float) -> None:
        """Forget the changes of people who have not read for long, and of those who are too many.

        Args:
            now: The event loop's time in seconds.
        """
        absent = sorted((person.seen_at, person_id) for person_id, person in self._people.items() if not person.readers)
        for index, (seen_at, person_id) in enumerate(absent):
            if now - seen_at > RESUME_SECONDS or len(absent) - index > MOST_LOGS:
                del self._people[person_id]

    async def collect(self) -> None:
        """Note what changes, until cancelled."""
        with self._studio.changed_jobs() as changes:
            async for job_ids in changes:
                if self._people:
                    self._changed.update(job_ids)
                    self._wake.set()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS if self.readers else BEAT_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self.send_changes()
            except Exception:  # the streams go on
                log.exception("changes could not be sent to the pages")
            self.forget_absent(self._now())
            await asyncio.sleep(PACE_SECONDS + READER_SECONDS * self.readers)

    async def send_changes(self) -> None:
        """Render what has changed, and send it to those whose connections have room."""
        await self._render()
        self._look_at_engine()
        await self._send()

    async def _render(self) -> None:
        """Render the jobs that have changed, of those who read; of others note that they have."""
        changed, self._changed = self._changed, set()
        if not changed or not self._people:
            return
        try:
            owners = await self._studio.owners_of(changed)
            read = [job for job, person in owners.items() if (p := self._people.get(person)) and p.readers]
            cards = await self._studio.cards_of(read) if read else {}
            self._record(owners, frozenset(read), cards)
        except Unavailable as error:
            log.debug("changes can't be read now (%s)", error.key)
            self._changed |= changed
        except Exception:
            log.exception("changes could not be rendered; all pages fetch the feed again")
            self._number += 1
            for person in self._people.values():
                person.log.drop(self._number)

    def _record(self, owners: Mapping[int, int], read: Collection[int], cards: Mapping[int, Card]) -> None:
        """Record changes.

        Args:
            owners: The person of each changed job.
            read: The jobs whose person reads.
            cards: Their cards; a deleted job is missing.
        """
        for job_id, person_id in sorted(owners.items()):
            if (person := self._people.get(person_id)) is None:
                continue
            self._number += 1
            card, data = cards.get(job_id), None
            if job_id in read:
                event_id = person.log.event_id(self._number)
                if card is None:
                    data = _event("gone", {"job_id": job_id}, event_id)
                else:
                    data = _event("card", {"card": card_json(card)}, event_id)
                self._view_previews(person, job_id, on=card is not None and card.coming is not None)
            person.log.put(job_id, self._number, data)
        # A reader may have come meanwhile, for whose person nothing was rendered.
        for person in self._people.values():
            if person.readers:
                self._changed.update(person.log.take_unread())
        if self._changed:
            self._wake.set()

    def _view_previews(self, person: _Person, job_id: int, *, on: bool) -> None:
        if on and person.readers and job_id not in person.previewed:
            person.previewed.add(job_id)
            self._studio.view_previews(job_id)
        elif not on and job_id in person.previewed:
            person.previewed.discard(job_id)
            self._studio.leave_previews(job_id)

    def _look_at_engine(self) -> None:
        state = self._studio.engine()
        if state != self._engine:
            self._engine = state
            self._number += 1
            self._engine_number = self._number
            self._engine_texts.clear()

    def _engine_event(self, locale: str, event_id: str) -> bytes:
        if (text := self._engine_texts.get(locale)) is None:
            text = self._engine_texts[locale] = json.dumps({"engine": engine_json(self._studio, locale)})
        return f"id: {event_id}\nevent: engine\ndata: {text}\n\n".encode()

    async def _send(self) -> None:
        now, served = self._now(), 0
        for person_id, person in tuple(self._people.items()):
            # Most readers have the same position: what they get is put together once.
            ready: dict[tuple[int, str], tuple[bytes, int]] = {}
            for reader in tuple(person.readers):
                try:
                    await self._offer(person, reader, now, ready)
                except (ConnectionError, RuntimeError):  # the browser has left
                    self._leave(person_id, reader)
                except Exception:
                    log.exception("a page could not be told what has changed")
                    self._leave(person_id, reader)
                served += 1
                if served % _TURN == 0:
                    await asyncio.sleep(0)

    async def _offer(
        self, person: _Person, reader: _Reader, now: float, ready: dict[tuple[int, str], tuple[bytes, int]]
    ) -> None:
        """Send what a reader has not had yet, if its connection has room. Raises ConnectionError if it has left."""
        transport = reader.request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        if not reader.greeted or (reader.writing is not None and not reader.writing.done()):
            return
        if transport.get_write_buffer_size():
            if now - reader.free_at > STALLED_SECONDS:
                transport.abort()
                raise ConnectionResetError
            return
        reader.free_at = now
        key = (reader.position, reader.locale)
        if key not in ready:
            ready[key] = self._unread(person.log, *key)
        data, position = ready[key]
        if not data:
            if now - reader.spoke_at < BEAT_SECONDS:
                return
            data = b": still here\n\n"
        reader.position, reader.spoke_at = position, now
        if len(data) <= _AT_ONCE:
            await reader.response.write(data)
        else:
            reader.writing = asyncio.create_task(self._write(reader, data), name="feed event")

    def _unread(self, changes: EventLog, position: int, locale: str) -> tuple[bytes, int]:
        """Return the events after a position, up to about ``_AT_ONCE`` bytes, and the position behind them.

        A reader who lags so far behind that a change is not remembered has to fetch the feed.
        """
        if changes.has_dropped(position):
            return _event("reset", {}, changes.event_id(self._number)), self._number
        events: list[tuple[int, bytes]] = [
            (entry.number, entry.data) for entry in changes.after(position) if entry.data is not None
        ]
        if self._engine_number > position:
            events.append((self._engine_number, self._engine_event(locale, changes.event_id(self._engine_number))))
            events.sort()
        found, size = list[bytes](), 0
        for number, data in events:
            if found and size + len(data) > _AT_ONCE:
                break
            found.append(data)
            size += len(data)
            position = number
        return b"".join(found), position

    async def _write(self, reader: _Reader, data: bytes) -> None:
        """Write what does not fit into a connection at once; a reader that takes nothing is disconnected."""
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                await reader.response.write(data)
        except TimeoutError:
            if reader.request.transport is not None:
                reader.request.transport.abort()
        except ConnectionError:
            pass  # it is found to have left in the next round

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _event(kind: str, data: object, event_id: str) -> bytes:
    return f"id: {event_id}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()
