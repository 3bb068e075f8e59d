"""The use cases on a real database, with a queue that only records calls."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bot import runner
from bot.commands.model import Invocation
from bot.context import AppContext
from bot.core.cards import Card
from bot.core.events import EventBus
from bot.core.jobs import Job, JobState
from bot.core.messages import Address, EventRef
from bot.core.people import Actor, Place
from bot.core.pictures import DrawnPicture
from bot.core.ports import QueueLoad, QueuePosition, SlotReport, Ticket
from bot.core.quotas import Limit
from bot.delivery.live import Live
from bot.history import store as history_rows
from bot.quotas.store import ledger
from bot.storage import data_files, jobs, pictures
from bot.storage.database import Database
from bot.studio import Studio
from engine.contract import ImageInfo, Profile
from engine.families.z_image.spec import demo
from tests.fakes.clock import FakeClock
from tests.fakes.empty_database import open_database
from tests.fakes.engine import FakeEngine

ADA = Actor("chat", "1", "Ada")
BOB = Actor("chat", "2", "Bob")
OWNER = Actor("web", "owner", "Eve", is_owner=True)
HERE = Place("chat", "guild", "channel")
THERE = Place("chat", "other", "elsewhere")
ALONE = Place("chat", None, "dm")
PAGE = Place("web", None, "page")


def ref(event: str = "e", *, answered: bool = False, channel: str | None = "channel") -> EventRef:
    return EventRef(event, None if channel is None else Address("chat", channel), answered)


async def run(ctx: AppContext, call: Invocation) -> Card:
    """Run a command that is answered by a card."""
    result = await runner.run(ctx, call)
    assert result.card is not None
    return result.card


class RecordingBacklog:
    """Implements ``bot.core.ports.Backlog`` and draws nothing."""

    def __init__(self) -> None:
        self.tickets: list[Ticket] = []
        self.forgotten: list[int] = []
        self.changes: list[int] = []
        self.holds: list[bool] = []
        self.posts = 0
        self.come_back: float | None = None
        self.asks = 0
        self.moved: list[tuple[int, int | None]] = []

    def enqueue(self, ticket: Ticket) -> None:
        self.tickets.append(ticket)

    def retry_after(self) -> float | None:
        return self.come_back

    def reserve(self) -> AbstractContextManager[None]:
        return nullcontext()

    def job_cancelled(self, job_id: int) -> None:
        self.forgotten.append(job_id)

    def job_changed(self, job_id: int) -> None:
        self.changes.append(job_id)

    def messages_added(self) -> None:
        self.posts += 1

    def order(self) -> Sequence[int]:
        return [ticket.job_id for ticket in self.tickets]

    def newest(self) -> int:
        return max((ticket.job_id for ticket in self.tickets), default=0)

    def move_ahead(self, job_id: int) -> None:
        self.moved.append((job_id, None))

    def move_behind(self, job_id: int, last_id: int) -> None:
        self.moved.append((job_id, last_id))

    def set_paused(self, on: bool) -> None:
        self.holds.append(on)

    def access_requested(self) -> None:
        self.asks += 1

    def deletion_added(self) -> None:
        pass

    def position(self, job_id: int) -> QueuePosition | None:
        ids = [t.job_id for t in self.tickets if t.job_id not in self.forgotten]
        return QueuePosition(ids.index(job_id) + 1, None) if job_id in ids else None

    def load(self) -> QueueLoad:
        return QueueLoad(len({t.job_id for t in self.tickets} - set(self.forgotten)), 0)

    def slots(self) -> Sequence[SlotReport]:
        return ()

    def progress(self, job_id: int) -> float | None:
        return None

    def seconds_left(self, job_id: int) -> float | None:
        return None


@dataclass
class World:
    """An AppContext, the objects around it, and helpers that read its rows."""

    db: Database
    ctx: AppContext
    backlog: RecordingBacklog
    clock: FakeClock
    engine: FakeEngine
    studio: Studio
    live: Live
    profiles: list[Profile] = field(default_factory=list)

    async def job(self, job_id: int) -> Job:
        async with self.ctx.db.read() as tx:
            job = await jobs.get(tx, job_id)
        assert job is not None
        return job

    async def count(self, table: str) -> int:
        async with self.ctx.db.read() as tx:
            return int(next(iter(await tx.execute_fetchall(f"SELECT count(*) FROM {table}")))[0])

    async def counted(self) -> int:
        async with self.ctx.db.read() as tx:
            rows = await tx.execute_fetchall("SELECT coalesce(sum(reserved + charged), 0) FROM ledger")
        return int(next(iter(rows))[0])

    async def paint(self, job_id: int, painted: int | None = None) -> None:
        """Write the rows and files of a drawn job; all its pictures if no number is given."""
        async with self.ctx.db.write() as tx:
            await jobs.claim(tx, [job_id], now=self.clock.now())
        await self.paint_running(job_id, painted)

    async def paint_running(self, job_id: int, painted: int | None = None) -> None:
        """The same for a job that is running already."""
        job = await self.job(job_id)
        n = job.request.count if painted is None else painted
        now = self.clock.now()
        async with self.ctx.db.write() as tx:
            assert await jobs.move(tx, job_id, JobState.RUNNING, JobState.PAINTED, now=now, seconds=0.5)
            for index in range(n):
                path = data_files.picture_path(job_id, index, job.created_at)
                await data_files.write(self.ctx.pictures, path, PNG)
                info = ImageInfo(width=192, height=192, seconds=0.25)
                drawn = DrawnPicture(job_id, index, job.request.seed + index, path, len(PNG), info)
                await pictures.add(tx, drawn, now=now)
            await ledger.settle(tx, job_id, painted=n, now=now)
            await history_rows.index_job(tx, job)
        self.live.wake(job_id)


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108020000009077"
    "53de0000000c4944415408d763f8cfc000000301010018dd8db00000000049454e44ae426082"
)
"""One red pixel."""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Quota 5 a day; 4 pictures at once in chats, 16 on the page."""
    async with await open_database(tmp_path / "easel.db") as db:
        backlog, clock, live = RecordingBacklog(), FakeClock(), Live(EventBus())
        profiles = [demo()]
        engine = FakeEngine(profiles)
        await engine.start()
        ctx = AppContext(
            db=db,
            backlog=backlog,
            clock=clock,
            profiles=lambda: tuple(profiles),
            pictures=tmp_path / "pictures",
            default_quota=Limit(5),
            max_counts={"web": 16},
            rng=random.Random(1),
        )
        studio = Studio(
            db,
            engine,
            backlog,
            live,
            clock=clock,
            pictures=tmp_path / "pictures",
            sheets=tmp_path / "sheets",
            quota=Limit(5),
            max_counts={"web": 16},
        )
        yield World(db, ctx, backlog, clock, engine, studio, live, profiles)


@pytest.fixture
def ctx(world: World) -> AppContext:
    return world.ctx


@pytest.fixture
def studio(world: World) -> Studio:
    return world.studio
