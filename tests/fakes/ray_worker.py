"""What the actors of tests run in place of a model: FakeEngine behind the messages of a real worker."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from engine.contract import EngineError, Failed, Image, Preview, Recipe, Step, TextTask
from engine.diffusion.request_state import RequestState
from engine.host import wire
from engine.host.inbox import Inbox
from tests.fakes.engine import FakeEngine

Send = Callable[[wire.Message], None]

RECORD = "actor-{pid}.txt"
"""Name of an actor's record in the folder of models: a line for each event of a ticket.

``step``, ``late`` (a step of one that was dropped), ``picture``, and ``end`` once nothing more comes of it.
"""

SECONDS_PER_MEGAPIXEL = 0.2
"""Of one step."""


def draw(setup: wire.Setup, send: Send, inbox: Inbox) -> None:
    """Draw flat pictures until the process ends."""
    asyncio.run(_Worker(setup, send, inbox).run())


class _Worker:
    def __init__(self, setup: wire.Setup, send: Send, inbox: Inbox) -> None:
        self._send = send
        self._inbox = inbox
        config = setup.config
        self._record = Path(config.models_dir) / RECORD.format(pid=os.getpid())
        self._record.parent.mkdir(parents=True, exist_ok=True)
        self._profiles = tuple(replace(spec.profile, expands=bool(config.text_model)) for spec in setup.models)
        self._engine = FakeEngine(self._profiles, self._pause, describes=bool(config.caption_model))
        self._drawn: Recipe | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        name = self._profiles[0].name
        self._send(wire.Warming(name, "fake"))
        await self._engine.start()
        self._send(wire.Warm(name, "fp32", "", "", 1, 0.0, 64 * 64, 0.01))
        self._send(wire.Resident((name,)))
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._take, args=(loop,), daemon=True).start()
        await asyncio.Event().wait()

    def _take(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            for request in self._inbox.take(wait=True):
                loop.call_soon_threadsafe(self._begin, request)
            for ticket, task in self._inbox.take_texts():
                loop.call_soon_threadsafe(self._begin_text, ticket, task)

    def _begin(self, request: RequestState) -> None:
        self._keep(asyncio.ensure_future(self._draw(request)))

    def _begin_text(self, ticket: int, task: TextTask) -> None:
        self._keep(asyncio.ensure_future(self._write(ticket, task)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pause(self) -> None:
        pixels = 0 if self._drawn is None else self._drawn.width * self._drawn.height
        await asyncio.sleep(SECONDS_PER_MEGAPIXEL * pixels / 2**20)

    async def _draw(self, request: RequestState) -> None:
        ticket, recipe = request.ticket, replace(request.recipe, id=str(request.ticket))
        stopping = asyncio.create_task(self._stop_dropped(ticket))
        try:
            async for event in self._engine.paint([recipe], request.lane):
                self._drawn = recipe
                if not self._inbox.is_active(ticket):
                    self._note("late", ticket)
                    return
                self._note("picture" if isinstance(event, Image) else "step", ticket)
                await self._engine.set_preview(recipe.id, enabled=self._inbox.wants_preview(ticket))
                self._tell(ticket, request.recipe, event)
        finally:
            stopping.cancel()
            self._note("end", ticket)

    async def _stop_dropped(self, ticket: int) -> None:
        while self._inbox.is_active(ticket):  # noqa: ASYNC110 - an inbox is asked, as at each step of a real worker
            await asyncio.sleep(0.005)
        await self._engine.drop(str(ticket))

    def _note(self, what: str, ticket: int) -> None:
        with self._record.open("a", encoding="ascii") as file:
            file.write(f"{what} {ticket}\n")

    def _tell(self, ticket: int, recipe: Recipe, event: Step | Preview | Image | Failed) -> None:
        match event:
            case Step(step=step, steps=steps):
                self._send(wire.StepDone((ticket,), (step,), (steps,), 0.01))
            case Preview():
                self._send(wire.PreviewReady(ticket, replace(event, recipe_id=recipe.id)))
            case Image() if self._inbox.finish(ticket):
                self._send(wire.ImageReady(ticket, replace(event, recipe_id=recipe.id), 1, 0.1, 0.2, 1))
            case Failed(error=error) if self._inbox.finish(ticket):
                self._send(wire.RequestFailed(ticket, error.code, str(error)))

    async def _write(self, ticket: int, task: TextTask) -> None:
        try:
            text = await (
                self._engine.describe(task.image)
                if task.image
                else self._engine.expand(task.model, task.prompt, seed=task.seed)
            )
        except EngineError as error:
            if self._inbox.finish(ticket):
                self._send(wire.RequestFailed(ticket, error.code, str(error)))
            return
        if self._inbox.finish(ticket):
            self._send(wire.TextReady(ticket, text))
