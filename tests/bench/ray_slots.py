"""Many simulated devices in a few actors of a Ray cluster on this machine: what goes through Ray is real."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from engine.contract import EngineConfig, Event, Lane, Recipe, Slot
from engine.diffusion.request_state import RequestState
from engine.host import wire
from engine.host.inbox import Inbox
from engine.ray.driver_process import ClusterConfig
from engine.ray.placement import SlotPlan
from engine.ray.ray_engine import RayEngine
from tests.bench.simulated_slots import STEPS, Devices, Drawn, pictures

PLAN = "EASEL_BENCH_SLOTS"
"""Environment variable of the actors: the seconds of their devices, and the bytes of a picture, as JSON."""

Send = Callable[[wire.Message], None]


class RaySlots(RayEngine):
    """A Ray engine each of whose actors has many devices.

    Args:
        seconds: What a picture takes on each device; every actor has as many of them.
        size: Bytes of a picture.
        actors: How many actors there are.
        calls: How many calls each device wants open.
        folder: Where models would be.
    """

    def __init__(self, seconds: Sequence[float], size: int, actors: int, calls: int, folder: Path) -> None:
        each = len(seconds) // actors
        self._each = each
        self._wanted = calls
        self.drawn: list[Drawn] = []
        """Nothing: only the actors know."""
        plan = json.dumps({"seconds": list(seconds[:each]), "size": size})
        super().__init__(
            EngineConfig("demo", str(folder / "models"), device="cpu", environment={PLAN: plan}),
            ClusterConfig(gpus=actors),
            [SlotPlan()] * actors,
            worker=f"{__name__}:draw",
        )

    def slots(self) -> tuple[Slot, ...]:
        """The devices."""
        return tuple(
            replace(slot, id=f"{slot.id}/{n}", calls=self._wanted)
            for slot in super().slots()
            for n in range(self._each)
        )

    def batch(self, recipe: Recipe, slot: str = "") -> int:
        """One picture at a time."""
        return 1

    async def paint(
        self, recipes: Sequence[Recipe], lane: Lane = Lane.INTERACTIVE, slot: str = ""
    ) -> AsyncGenerator[Event]:
        """Draw in the actor of a device, one picture after the other: each waits for the way there and back."""
        for recipe in recipes:
            async for event in super().paint([recipe], lane, slot.partition("/")[0]):
                yield event


def draw(_setup: wire.Setup, send: Send, inbox: Inbox) -> None:
    """Draw with the devices of one actor; it runs there."""
    asyncio.run(_Worker(send, inbox).run())


class _Worker:
    def __init__(self, send: Send, inbox: Inbox) -> None:
        plan = json.loads(os.environ[PLAN])
        self._send = send
        self._inbox = inbox
        self._devices = Devices(plan["seconds"])
        self._data = itertools.cycle(pictures(plan["size"]))
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Tell that it is ready, and draw."""
        self._send(wire.Warming("demo", "simulated"))
        self._send(wire.Warm("demo", "fp32", "", "", 1, 0.0, 64 * 64, 0.01))
        self._send(wire.Resident(("demo",)))
        threading.Thread(target=self._take, args=(asyncio.get_running_loop(),), daemon=True).start()
        await asyncio.Event().wait()

    def _take(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            for request in self._inbox.take(wait=True):
                loop.call_soon_threadsafe(self._begin, request)

    def _begin(self, request: RequestState) -> None:
        task = asyncio.ensure_future(self._draw(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _draw(self, request: RequestState) -> None:
        loop, ticket = asyncio.get_running_loop(), request.ticket
        drawn = self._devices.begin(request.recipe.id, loop.time())
        for step in range(1, STEPS + 1):
            moment = drawn.begun + (drawn.ended - drawn.begun) * step / STEPS
            await asyncio.sleep(max(0.0, moment - loop.time()))
            if not self._inbox.is_active(ticket):
                return
            self._send(wire.StepDone((ticket,), (step,), (STEPS,), (drawn.ended - drawn.begun) / STEPS))
        if self._inbox.finish(ticket):
            self._send(wire.ImageReady(ticket, drawn.image(next(self._data)), 1, drawn.ended, drawn.ended, 1))
