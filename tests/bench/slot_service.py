"""The service with many simulated devices, in a process of its own: prints what it measured as JSON.

``python -m tests.bench.slot_service PLAN FOLDER``; the plan is a JSON object with the fields of ``Plan``, and what it leaves in
the folder is the caller's to delete.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from prometheus_client import CollectorRegistry

from bot.core.cards import Card
from bot.core.messages import Address, EventRef
from bot.core.people import Actor, Place
from bot.core.pictures import PictureFile
from bot.core.ports import Abilities, Gone
from bot.core.requests import DrawForm, PictureSource
from bot.dispatch.service import QUEUE_LIMIT, Dispatch
from bot.storage import thumbnails
from bot.storage.database import Database
from bot.studio import Studio
from engine.host.imports import collect_rarely
from tests.bench.percentiles import spread
from tests.bench.ray_slots import RaySlots
from tests.bench.simulated_slots import STEPS, SimulatedSlots, pictures
from tests.fakes.service import build_service

PLATFORM = "chat"
PEOPLE = 400
"""People who ask in turns, each in a direct message."""

AT_ONCE = 50
"""Requests that are admitted at the same time before the devices begin."""

MOST = QUEUE_LIMIT - AT_ONCE
"""Most requests that wait from the beginning; devices that would draw more are more than one service feeds."""

BEAT = 0.01
"""Seconds between two looks at how late the event loop is."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured.

    Attributes:
        seconds: What a picture takes on each device.
        size: Bytes of a picture.
        window: Seconds that are measured.
        ramp: Seconds before them.
        arrivals: Requests a second, at random moments (Poisson); 0: enough wait from the beginning.
        steps: Steps of a picture that the devices tell.
        calls: How many calls each device wants open.
        actors: How many actors of a Ray cluster the devices are in; 0: they are in this process.
        chats: Whether the requests come from chats, whose cards are kept up to date; else from the page.
        seed: Decides the moments of the arrivals.
    """

    seconds: Sequence[float]
    size: int
    window: float = 10.0
    ramp: float = 3.0
    arrivals: float = 0.0
    steps: int = STEPS
    calls: int = 1
    actors: int = 0
    chats: bool = True
    seed: int = 1

    @property
    def ceiling(self) -> float:
        """Pictures a second that the devices can draw."""
        return sum(1 / each for each in self.seconds)


class LightSurface:
    """A chat platform that takes everything at once and keeps nothing. Implements ``bot.core.ports.Surface``."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        """How often each method was called."""
        self._numbers = itertools.count(1)

    def abilities(self) -> Abilities:
        """Like Discord's."""
        return Abilities(edit_every=1.0, safe_resend=True, pictures_in_card=10, private_send=True)

    def wait(self, address: Address) -> float:
        """No limit."""
        return 0.0

    async def edit(self, address: Address, card: Card) -> Address:
        """Take the card."""
        self.calls["edit"] += 1
        return address

    async def send(self, address: Address, card: Card, key: str) -> Address:
        """Take the card."""
        self.calls["send"] += 1
        return replace(address, message=str(next(self._numbers)))

    async def send_files(self, address: Address, files: Sequence[PictureFile], *, originals: bool) -> tuple[str, ...]:
        """Take the files."""
        self.calls["files"] += 1
        return tuple(str(next(self._numbers)) for _ in files)

    async def fetch(self, source: PictureSource, limit: int) -> bytes:
        """It has no files."""
        raise Gone("no files")

    async def remove(self, address: Address, card: Card) -> None:
        """Take it away."""
        self.calls["remove"] += 1


def _watched_thumbnails() -> list[float]:
    """Return the processor seconds of each thumbnail from now on."""
    seconds: list[float] = []
    encode = thumbnails.encode

    def timed(picture: Path, side: int) -> bytes:
        begin = time.thread_time()
        try:
            return encode(picture, side)
        finally:
            seconds.append(time.thread_time() - begin)

    thumbnails.encode = timed
    return seconds


class Service:
    """Dispatch, delivery and Studio over simulated devices, and the people who ask."""

    def __init__(
        self, plan: Plan, db: Database, engine: SimulatedSlots | RaySlots, dispatch: Dispatch, studio: Studio
    ) -> None:
        self.plan = plan
        self.db = db
        self.engine = engine
        self.dispatch = dispatch
        self.studio = studio
        self.surface = LightSurface()
        self.asked_at: dict[int, float] = {}
        """When each job was asked for, by the loop's clock."""
        self._numbers = itertools.count(1)

    async def ask(self, at: float) -> None:
        """Ask for one picture; ``at`` is when, by the loop's clock."""
        number = next(self._numbers)
        name = str(number % PEOPLE)
        if self.plan.chats:
            who, place = Actor(PLATFORM, name, f"Person {name}"), Place(PLATFORM, None, name)
            ref = EventRef(f"bench:{number}", Address(PLATFORM, name, user=name))
        else:
            who, place = Actor("web", name, f"Person {name}"), Place("web", None, "page")
            ref = EventRef(f"bench:{number}")
        job = await self.studio.draw(who, place, DrawForm(f"a red apple on table {number}"), ref)
        self.asked_at[job.job_id] = at

    async def fill(self, number: int) -> None:
        """Have this many pictures wait."""
        loop, left = asyncio.get_running_loop(), iter(range(number))

        async def some() -> None:
            for _ in left:
                await self.ask(loop.time())

        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(some())

    async def arrive(self, until: float) -> None:
        """Ask at random moments, whatever is waiting already."""
        loop, rng = asyncio.get_running_loop(), random.Random(self.plan.seed)
        at = loop.time()
        async with asyncio.TaskGroup() as tasks:
            while (at := at + rng.expovariate(self.plan.arrivals)) < until:
                await asyncio.sleep(max(0.0, at - loop.time()))
                tasks.create_task(self.ask(at))


@asynccontextmanager
async def running(plan: Plan, folder: Path) -> AsyncIterator[Service]:
    """The service, which draws nothing yet."""
    async with await Database.open(folder / "easel.db") as db:
        engine = await _engine(plan, folder)
        dispatch, studio = build_service(db, folder, engine, CollectorRegistry(), quota=10**9)
        service = Service(plan, db, engine, dispatch, studio)
        await dispatch.start()
        if plan.actors:
            dispatch.set_paused(True)
        await dispatch.attach(PLATFORM, service.surface)
        try:
            yield service
        finally:
            await dispatch.stop()
            await engine.aclose()


async def _engine(plan: Plan, folder: Path) -> SimulatedSlots | RaySlots:
    """Return the devices, ready."""
    if not plan.actors:
        return SimulatedSlots(plan.seconds, pictures(plan.size), calls=plan.calls, steps=plan.steps)
    engine = RaySlots(plan.seconds, plan.size, plan.actors, plan.calls, folder)
    await engine.start()
    async with asyncio.timeout(180):
        while not all(slot.ready for slot in engine.slots()):  # noqa: ASYNC110 - all of them, not the first one
            await asyncio.sleep(0.1)
    return engine


async def _late(beats: list[float]) -> None:
    """Note how late the event loop is, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        at = loop.time() + BEAT
        await asyncio.sleep(BEAT)
        beats.append(loop.time() - at)


def _threads() -> dict[str, float]:
    """Return the processor seconds of this process's threads so far, by what they do."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    found: dict[str, float] = {}
    for one in psutil.Process().threads():
        name = names.get(one.id, "ended")
        kind = next(
            (kind for kind in ("MainThread", "asyncio", "thumbnail", "ended") if name.startswith(kind)), "database"
        )
        found[kind] = found.get(kind, 0.0) + one.user_time + one.system_time
    return found


def _children() -> float:
    """Return the processor seconds of the driver, the actors and the other processes of Ray so far."""
    seconds = 0.0
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            times = child.cpu_times()
            seconds += times.user + times.system
    return seconds


async def measure(plan: Plan, folder: Path) -> dict[str, Any]:
    """Run a plan."""
    loop = asyncio.get_running_loop()
    async with running(plan, folder) as service:
        small = _watched_thumbnails()
        # The first request compiles the catalogue of its language.
        await service.fill(1)
        if not plan.arrivals:
            await service.fill(min(MOST, round(plan.ceiling * (plan.ramp + plan.window + 1) + 2 * len(plan.seconds))))
            while plan.chats and service.surface.calls["send"] < len(service.asked_at):  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.05)
        beats: list[float] = []
        late = asyncio.create_task(_late(beats))
        if plan.actors:
            service.dispatch.set_paused(False)
        else:
            await service.engine.start()
        begin = loop.time() + plan.ramp
        arriving = asyncio.create_task(service.arrive(begin + plan.window)) if plan.arrivals else None
        await asyncio.sleep(plan.ramp)
        threads, others = _threads(), _children()
        await asyncio.sleep(0)
        beats.clear()
        small.clear()
        calls, commits = Counter(service.surface.calls), service.db.commits
        begin, unix, cpu, host = loop.time(), time.time(), time.process_time(), psutil.cpu_times()
        waiting = service.dispatch.load().waiting
        await asyncio.sleep(plan.window)
        late.cancel()
        end, unix_end, cpu_end, host_end = loop.time(), time.time(), time.process_time(), psutil.cpu_times()
        commits = service.db.commits - commits
        waiting_end, threads_end, others_end = service.dispatch.load().waiting, _threads(), _children()
        if arriving is not None:
            await arriving
        async with service.db.read() as tx:
            rows = await tx.execute_fetchall(
                "SELECT jobs.id, ended_at, device FROM jobs JOIN pictures ON job_id = jobs.id"
                " WHERE state IN ('painted', 'delivered') AND ended_at BETWEEN ? AND ?",
                (unix, unix_end),
            )
        stored = {int(row[0]): float(row[1]) - unix + begin for row in rows}
        told = [(int(slot), float(idle)) for _, slot, idle in (row[2].split() for row in rows)]
        drawn = service.engine.drawn
        found = {
            "slots": len(plan.seconds),
            "size_kb": round(plan.size / 1000),
            "seconds": round(end - begin, 2),
            "pictures": len(stored),
            "share_of_ceiling": round(len(stored) / (plan.ceiling * (end - begin)), 4),
            "idle_ms": spread([idle for _, idle in told if idle >= 0], scale=1),
            "idle_where_idle_ms": spread([idle for _, idle in told if idle > 0], scale=1),
            "without_a_pause": round(sum(idle == 0 for _, idle in told) / max(1, len(told)), 3),
            "lag_ms": spread(beats),
            "commits_per_s": round(commits / (end - begin), 1),
            "card_calls_per_s": round((service.surface.calls - calls).total() / (end - begin), 1),
            "cpu_ms_per_picture": round((cpu_end - cpu) * 1000 / max(1, len(stored)), 2),
            "of_it_thumbnails_ms": round(sum(small) * 1000 / max(1, len(stored)), 2),
            "cpu_ms_by_thread": {
                kind: round((seconds - threads.get(kind, 0.0)) * 1000 / max(1, len(stored)), 2)
                for kind, seconds in threads_end.items()
            },
            "ray_cpu_ms_per_picture": round((others_end - others) * 1000 / max(1, len(stored)), 2),
            "others_cores": round((_busy(host_end) - _busy(host) - (cpu_end - cpu)) / (end - begin), 2),
            "load": round(os.getloadavg()[0], 1),
            "waiting": (waiting, waiting_end),
            "by_slot": _by_slot(plan, Counter(slot for slot, _ in told)),
        }
        if plan.arrivals:
            begun = {int(d.recipe_id.partition(":")[0]): d.begun for d in drawn}
            asked = {job_id: at for job_id, at in service.asked_at.items() if begin <= at < end}
            found["wait_s"] = spread([begun[j] - at for j, at in asked.items() if j in begun], scale=1)
            found["until_stored_s"] = spread(
                [at - service.asked_at[j] for j, at in stored.items() if j in service.asked_at], scale=1
            )
            found["asked"] = len(asked)
        return found


def _by_slot(plan: Plan, counted: Counter[int]) -> Sequence[int]:
    """Return the pictures of each device where they are few, else the fewest and the most; all actors' together."""
    numbers = [counted[slot] for slot in range(len(plan.seconds) // max(1, plan.actors))]
    return numbers if len(numbers) <= 8 else (min(numbers), max(numbers))


def _busy(times: Any) -> float:
    """Return the processor seconds that the machine has worked."""
    return float(times.user + times.system + times.nice + times.irq + times.softirq)


def main(text: str, folder: str) -> None:
    """Measure one plan and print it."""
    logging.basicConfig(level=logging.WARNING)
    # As ``easel serve`` does when its imports are done.
    collect_rarely()
    sys.stdout.write(json.dumps(asyncio.run(measure(Plan(**json.loads(text)), Path(folder)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
