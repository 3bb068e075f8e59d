"""The whole service as the benchmark uses it: jobs from many people, and what they wait for."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from adapters.cli.benchmark.watched import Watched
from adapters.cli.wiring import Easel
from bot.core.cards import Action, ButtonPress
from bot.core.messages import EventRef
from bot.core.people import Actor, Place
from bot.core.requests import DrawForm
from engine.contract import Profile, Recipe

_PLACE = Place("web", None, "page")


@dataclass(frozen=True, slots=True)
class Served:
    """What came of a burst.

    Attributes:
        seconds: From the first request until every picture is stored.
        idle_share: Of the time from when the engine is given the first request to its last picture: not at work.
        first_step: Seconds from each request to its first step.
        picture: Seconds from each request to its picture.
        encoded: Prompts that went through a text encoder.
    """

    seconds: float
    idle_share: float
    first_step: list[float]
    picture: list[float]
    encoded: int


@dataclass(slots=True)
class Client:
    """Many people, each with one request."""

    easel: Easel
    engine: Watched
    _events: itertools.count[int] = field(default_factory=itertools.count)
    _people: dict[int, Actor] = field(default_factory=dict)

    async def ask(self, recipe: Recipe) -> int:
        """Ask for a picture as one person; returns the job's id."""
        number = next(self._events)
        form = DrawForm(
            recipe.prompt,
            size=f"{recipe.width}x{recipe.height}",
            steps=str(recipe.steps),
            seed=str(recipe.seed),
            guidance=f"{recipe.guidance:g}",
        )
        person = Actor("web", f"bench{number}", is_owner=True)
        shown = await self.easel.studio.draw(person, _PLACE, form, EventRef(f"bench:{number}"))
        self._people[shown.job_id] = person
        return shown.job_id

    async def finished(self, job_id: int) -> None:
        """Wait until a job is done. Raises RuntimeError when it failed."""
        async for card in self.easel.studio.watch(self._people[job_id], job_id):
            if card.final and not card.pictures:
                raise RuntimeError(f"job {job_id} ended without a picture: {card.status}")
            if card.final:
                return

    async def burst(self, recipes: Sequence[Recipe]) -> Served:
        """Ask for all of them at once, and wait for all."""
        self.engine.clear()
        before = self.engine.state()
        began = time.perf_counter()
        jobs = await asyncio.gather(*(self.ask(recipe) for recipe in recipes))
        for job_id in jobs:
            await self.finished(job_id)
        seconds = time.perf_counter() - began
        after = self.engine.state()
        drawing = max(m.at for m in self.engine.marks if m.done) - self.engine.begun
        busy = after.busy_seconds - before.busy_seconds
        return Served(
            seconds,
            max(0.0, 1 - busy / drawing),
            [self.engine.first(job, done=False) - began for job in jobs],
            [self.engine.first(job, done=True) - began for job in jobs],
            after.prompts_encoded - before.prompts_encoded,
        )

    async def acks(self, recipe: Recipe, count: int, pause: float) -> list[float]:
        """Ask ``count`` times while something long is drawn; return the seconds of each answer. Nothing is drawn."""
        seconds = []
        jobs = []
        for _ in range(count):
            began = time.perf_counter()
            jobs.append(await self.ask(recipe))
            seconds.append(time.perf_counter() - began)
            await asyncio.sleep(pause)
        for job_id in jobs:
            await self.cancel(job_id)
        return seconds

    async def cancel(self, job_id: int) -> None:
        """Cancel a job, as the one who asked for it."""
        ref = EventRef(f"bench:{next(self._events)}")
        await self.easel.studio.press(self._people[job_id], _PLACE, ButtonPress(Action.CANCEL, job_id), ref)

    async def preempt(self, long: Recipe, short: Recipe) -> int:
        """Return how many steps a long job goes on between a short request and that one's first step."""
        self.engine.clear()
        long_job = await self.ask(long)
        await self.engine.stepping(long_job, 3)
        asked = time.perf_counter()
        short_job = await self.ask(short)
        await self.engine.stepping(short_job, 1)
        began = self.engine.first(short_job, done=False)
        await self.cancel(long_job)
        mine = f"{long_job}:"
        return sum(m.recipe_id.startswith(mine) and asked < m.at <= began for m in self.engine.marks)


def long_recipe(profile: Profile) -> Recipe:
    """Return the longest request that the model takes at its native size."""
    width, height = profile.presets["square"]
    return Recipe("long", profile.name, "a castle", "", width, height, profile.steps.high, profile.guidance.default, 1)


def short_recipe(profile: Profile) -> Recipe:
    """Return a short request of another size, so that it can't share the long one's steps."""
    width, height = profile.presets["landscape"]
    steps = min(profile.steps.default, max(1, profile.steps.high // 4))
    return Recipe("short", profile.name, "a cat", "", width, height, steps, profile.guidance.default, 2)
