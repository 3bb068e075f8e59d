"""The bot for tests of whole flows: a real SQLite file, the fake engine and recording surfaces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from bot import runner
from bot.commands.model import CommandResult, Invocation
from bot.context import AppContext
from bot.core.access import AccessMode, Owners
from bot.core.cards import ButtonPress
from bot.core.jobs import Job, JobState
from bot.core.messages import Address, EventRef, Message
from bot.core.people import Actor, Place
from bot.core.ports import Moderator, Surface
from bot.core.quotas import Limit
from bot.core.requests import DrawForm
from bot.dispatch.service import Dispatch
from bot.drawing.admission import draw
from bot.drawing.draft_writer import DraftWriter
from bot.drawing.picture_requests import PictureFetcher
from bot.features import COMMANDS
from bot.observability.metrics import Metrics
from bot.provenance.sealing import Sealing
from bot.storage import jobs, messages
from engine.contract import Engine
from engine.multi_engine import MultiEngine
from tests.fakes.clock import FakeClock
from tests.fakes.empty_database import open_database
from tests.fakes.engine import FakeEngine
from tests.fakes.surface import Chats, FakeSurface
from tests.fakes.watched_event import WatchedEvent

CHAT = "100"
TICK = 0.25


class Hang:
    """A function that never returns, in place of one that the service is killed in."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        """Set once it was called."""

    async def __call__(self, *_: object) -> None:
        self.reached.set()
        await asyncio.Event().wait()


class Bot:
    """A data folder and the service that runs on it; it can be stopped, killed and started again."""

    def __init__(
        self,
        folder: Path,
        engine: FakeEngine,
        surfaces: dict[str, Surface],
        devices: Mapping[str, FakeEngine] | None = None,
    ) -> None:
        self.folder = folder
        self.pictures = folder / "pictures"
        self.engine = engine
        self.devices: Engine = MultiEngine(devices) if devices else engine
        """What the service draws with: ``engine``, or several engines as one."""
        self.surfaces = surfaces
        self.clock = FakeClock()
        self.owners = Owners()
        self.access: dict[str, AccessMode] = {}
        self._events = 0
        self.moderator: Moderator | None = None
        """Judges pictures from the next start on."""
        self.sealing: Sealing | None = None
        """Signs pictures from the next start on."""

    @property
    def chats(self) -> Chats:
        """The messages that people see on the platform ``chat``."""
        surface = self.surfaces["chat"]
        assert isinstance(surface, FakeSurface)
        return surface.chats

    @property
    def surface(self) -> FakeSurface:
        """The surface of the platform ``chat``."""
        surface = self.surfaces["chat"]
        assert isinstance(surface, FakeSurface)
        return surface

    async def start(self) -> None:
        """Open the folder and start the service, as a new process does."""
        self.db = await open_database(self.folder / "easel.db")
        self.registry = CollectorRegistry()
        self.dispatch = Dispatch(
            self.db,
            self.pictures,
            self.devices,
            clock=self.clock,
            metrics=Metrics(self.registry),
            owners=self.owners,
            access=self.access,
            moderator=self.moderator,
            sealing=self.sealing,
        )
        self.ctx = AppContext(
            db=self.db,
            backlog=self.dispatch,
            clock=self.clock,
            profiles=self.engine.profiles,
            pictures=self.pictures,
            default_quota=Limit(50),
            max_counts={"web": 16},
            owners=self.owners,
            access_modes=self.access,
            edit_model=self.engine.edit_model(),
            can_describe=self.engine.can_describe(),
            loras=self.engine.loras,
        )
        self._wake = self.dispatch._delivery._wake = WatchedEvent()
        fetcher = PictureFetcher(self.ctx, self.dispatch.surfaces)
        await self.dispatch.start(fetcher, DraftWriter(self.ctx, self.devices, self.dispatch.surfaces))
        for platform, surface in self.surfaces.items():
            await self.dispatch.attach(platform, surface)

    async def stop(self) -> None:
        """Stop the service, as SIGTERM does."""
        await self.dispatch.stop()
        await self.db.close()

    async def kill(self) -> None:
        """End the service as ``kill -9`` does: nothing is cleaned up."""
        task = self.dispatch._task
        assert task is not None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self.db.close()

    async def restart(self) -> None:
        """Kill the service and start it again."""
        await self.kill()
        await self.start()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Let time pass until the condition holds; it may be a plain or an async function."""
        async with asyncio.timeout(20):
            while True:
                result = condition()
                if asyncio.iscoroutine(result):
                    result = await result
                if result:
                    return
                await asyncio.sleep(0.001)
                self.clock.advance(TICK)

    async def quiet(self, enough: Callable[[], bool] = lambda: False) -> None:
        """Let time pass until delivery has nothing left to do, or until ``enough`` holds."""

        def still() -> bool:
            delivery = self.dispatch._delivery
            # The intake may hold entries that it has taken off its list: it has seen all of them when it waits again.
            idle = self._wake.idle
            return enough() or (
                idle and not (delivery._senders or delivery._changed_jobs or delivery._progressed or delivery._added)
            )

        for _ in range(3):
            await self.until(still)
            for _ in range(5):
                await asyncio.sleep(0.001)

    def actor(self, user: str = "1", platform: str = "chat", *, locale: str = "en") -> Actor:
        return Actor(platform, user, name=f"user {user}", locale=locale)

    async def ask(
        self,
        prompt: str = "a red apple",
        *,
        user: str = "1",
        platform: str = "chat",
        chat: str = CHAT,
        thread: str | None = None,
        event: str | None = None,
        answered: bool = False,
        shown: bool = True,
        **form: Any,
    ) -> Job:
        """Ask for pictures as a surface would."""
        self._events += 1
        address = Address(platform, chat, thread=thread, user=user) if shown else None
        ref = EventRef(event or f"{platform}:{self._events}", address, answered)
        place = Place(platform, None, chat)
        return await draw(self.ctx, self.actor(user, platform), place, DrawForm(prompt, **form), ref)

    async def cancel(self, job_id: int, *, user: str = "1", platform: str = "chat", chat: str = CHAT) -> bool:
        """Press Cancel; returns whether that ended the job."""
        ref = EventRef(f"cancel:{job_id}:{user}")
        actor, place = self.actor(user, platform), Place(platform, None, chat)
        return not (await self.press(actor, place, ButtonPress("cancel", job_id), ref)).notice

    async def press(self, actor: Actor, place: Place, press: ButtonPress, ref: EventRef) -> CommandResult:
        """Press a button as a surface would."""
        return await runner.run(self.ctx, Invocation(actor, place, COMMANDS.by_action[press.action], ref, press=press))

    async def job(self, job_id: int) -> Job:
        async with self.db.read() as tx:
            job = await jobs.get(tx, job_id)
        assert job is not None
        return job

    async def rows(self, job_id: int) -> tuple[Message, ...]:
        async with self.db.read() as tx:
            return await messages.of_job(tx, job_id)

    async def reaches(self, job_id: int, *states: JobState) -> Job:
        """Wait until the job is in one of these states."""

        async def there() -> bool:
            return (await self.job(job_id)).state in states

        await self.until(there)
        return await self.job(job_id)

    async def delivered(self, job_id: int) -> Job:
        return await self.reaches(job_id, JobState.DELIVERED)

    async def ledger(self, job_id: int) -> tuple[int, int, int]:
        """Return (rows, reserved pictures, charged pictures) of one job in the ledger."""
        async with self.db.read() as tx:
            rows = list(
                await tx.execute_fetchall(
                    "SELECT count(*), coalesce(sum(reserved), 0), coalesce(sum(charged), 0) FROM ledger"
                    " WHERE job_id = ?",
                    (job_id,),
                )
            )
        return rows[0][0], rows[0][1], rows[0][2]

    def files(self) -> list[str]:
        """Every file in the pictures folder, by name."""
        return sorted(path.name for path in self.pictures.rglob("*") if path.is_file())
