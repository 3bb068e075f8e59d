"""The engine as a benchmark sees it: draws as ever, and keeps when each of its events came."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from engine.contract import EngineConfig, Event, Image, Lane, Recipe, Step
from engine.host.process_engine import ProcessEngine


@dataclass(frozen=True, slots=True)
class Mark:
    """A step or the end of a recipe, and when it came, by the performance counter."""

    at: float
    recipe_id: str
    step: int
    done: bool


class Watched(ProcessEngine):
    """A ProcessEngine that keeps marks."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        self.marks: list[Mark] = []
        self.begun = 0.0
        """When the first paint since ``clear`` was handed to the engine."""
        self._marked = asyncio.Event()

    async def paint(self, recipes: Sequence[Recipe], lane: Lane = Lane.INTERACTIVE) -> AsyncGenerator[Event]:
        """See ProcessEngine."""
        self.begun = self.begun or time.perf_counter()
        async with aclosing(super().paint(recipes, lane)) as events:
            async for event in events:
                step = event.step if isinstance(event, Step) else 0
                self.marks.append(Mark(time.perf_counter(), event.recipe_id, step, isinstance(event, Image)))
                self._marked.set()
                yield event

    def clear(self) -> None:
        """Forget what was seen so far."""
        self.marks.clear()
        self.begun = 0.0

    async def stepping(self, job_id: int, steps: int) -> None:
        """Return once a job has taken so many steps."""
        while not any(m.recipe_id.startswith(f"{job_id}:") and m.step >= steps for m in self.marks):
            self._marked.clear()
            await self._marked.wait()

    def first(self, job_id: int, *, done: bool) -> float:
        """Return when a job's first step, or its first picture, came. Raises ValueError when it has not."""
        found = (m.at for m in self.marks if m.recipe_id.startswith(f"{job_id}:") and m.done is done)
        at = next(found, None)
        if at is None:
            raise ValueError(f"job {job_id} was not drawn")
        return at
