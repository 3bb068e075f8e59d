"""The systems that `easel bench` measures with bursts of requests: a plain diffusers loop, the engine, and all of Easel."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from adapters.cli.wiring import Easel
from bot.core.cards import ButtonPress
from bot.core.messages import EventRef
from bot.core.people import Actor, Place
from bot.core.requests import DrawForm
from engine import catalogue
from engine.contract import EngineConfig, Event, Image, Lane, Profile, Recipe, Step
from engine.host.child_process import child_environment, end_process
from engine.host.process_engine import ProcessEngine

COLOURS = ("red", "yellow", "green", "blue", "purple", "white", "black", "pink")
SUBJECTS = ("apple", "cat", "rocket", "lemon", "penguin", "castle", "dog", "mushroom")
PLACES = ("on a blue background", "in the night sky", "on a green background", "at sunset", "in snow", "by the sea")
PROMPTS = 10
"""Different prompts in a burst; people often request the same prompt again."""

_PRESETS = ("square", "square", "landscape", "portrait")
"""Half of the requests have the native square size."""

_PLACE = Place("web", None, "page")
_TORCH_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


@dataclass(frozen=True, slots=True)
class Burst:
    """A burst of requests for one picture each.

    Attributes:
        recipes: The recipes in their order.
    """

    recipes: tuple[Recipe, ...]

    def batches(self) -> tuple[tuple[Recipe, ...], ...]:
        """Return the batches of a service that batches whole requests: equal shapes together, in their order."""

        def kind(recipe: Recipe) -> tuple[int, int, int, float]:
            return recipe.width, recipe.height, recipe.steps, recipe.guidance

        batches: list[tuple[Recipe, ...]] = []
        for _, group in groupby(sorted(self.recipes, key=kind), key=kind):
            same = list(group)
            most = catalogue.batch(same[0])
            batches += [tuple(same[i : i + most]) for i in range(0, len(same), most)]
        return tuple(batches)


def burst(profile: Profile, count: int, words: int) -> Burst:
    """Return a burst of ``count`` mixed requests: sizes, steps and prompts as people ask for them.

    Args:
        profile: The model.
        count: Number of requests; equal counts cost the same, whatever the prompts.
        words: Seed of the prompts.
    """
    rng = random.Random(words)  # noqa: S311 - a benchmark is no secret
    prompts = rng.sample([f"a {c} {s} {p}" for c in COLOURS for s in SUBJECTS for p in PLACES], PROMPTS)
    shapes = random.Random(count)  # noqa: S311 - see above
    usual = profile.steps.default
    more = min(profile.steps.high, usual + usual // 2)
    recipes = []
    for n in range(count):
        width, height = profile.presets[shapes.choice(_PRESETS)]
        recipes.append(
            Recipe(
                id=f"{n}",
                model=profile.name,
                prompt=prompts[n % PROMPTS],
                negative="",
                width=width,
                height=height,
                steps=shapes.choice((usual, usual, usual, more)),
                guidance=profile.guidance.default,
                seed=rng.randrange(2**32),
            )
        )
    return Burst(tuple(recipes))


def long_recipe(profile: Profile) -> Recipe:
    """Return the longest request that the model takes at its native size."""
    width, height = profile.presets["square"]
    return Recipe("long", profile.name, "a castle", "", width, height, profile.steps.high, profile.guidance.default, 1)


def short_recipe(profile: Profile) -> Recipe:
    """Return a short request of another size, so that it can't share the long one's steps."""
    width, height = profile.presets["landscape"]
    steps = min(profile.steps.default, max(1, profile.steps.high // 4))
    return Recipe("short", profile.name, "a cat", "", width, height, steps, profile.guidance.default, 2)


@dataclass(slots=True)
class LineProcess:
    """A running process that answers each line of JSON with one.

    Attributes:
        process: The process.
    """

    process: asyncio.subprocess.Process

    async def ask(self, question: Any) -> Any:
        """Send a line and return the answer. Raises RuntimeError with the last error line if the process has ended."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(question).encode() + b"\n")
        return await self.answer()

    async def answer(self) -> Any:
        """Return its next answer. Raises RuntimeError as ``ask`` does."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        line = await self.process.stdout.readline()
        if not line:
            words = (await self.process.stderr.read()).decode(errors="replace").strip().splitlines()
            raise RuntimeError(f"the bare loop has ended: {words[-1] if words else 'without a word'}")
        return json.loads(line)


@dataclass(slots=True)
class Baseline:
    """The plain diffusers loop.

    Attributes:
        lines: Its process.
        threads: Threads of each operation.
        peak: Floating-point operations per second of a matrix product; 0 on a CPU.
    """

    lines: LineProcess
    threads: int
    peak: float

    async def draw(self, batches: Iterable[Sequence[Recipe]]) -> float:
        """Draw batches one after the other; returns the seconds."""
        return float(await self.lines.ask([[asdict(r) for r in batch] for batch in batches]))


@asynccontextmanager
async def running_baseline(folder: str, device: str, precision: str, *, calm: bool = False) -> AsyncIterator[Baseline]:
    """Run the baseline while the block runs.

    Args:
        folder: A diffusers pipeline.
        device: Such as ``cpu`` or ``cuda:0``.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        calm: Its threads wait as the engine's do. False: as in a user's own script, OpenMP decides that.
    """
    async with _running("baseline_process", folder, device, _TORCH_DTYPES[precision], calm=calm) as lines:
        said = await lines.answer()
        yield Baseline(lines, said["threads"], said["peak"])


async def paused_calls(
    folder: str, device: str, precision: str, bursts: Iterable[Sequence[Recipe]]
) -> tuple[list[float], list[float]]:
    """Return the seconds of the plain calls for each burst, and those of calls that are paused between their steps.

    Args:
        folder: A diffusers pipeline.
        device: As for ``running_baseline``.
        precision: As for ``running_baseline``.
        bursts: The recipes; those of the first burst warm up and are not counted.
    """
    # Both kinds of calls wait as the engine's do.
    async with _running("paused_process", folder, device, _TORCH_DTYPES[precision], calm=True) as lines:
        await lines.answer()
        found = [await lines.ask([asdict(recipe) for recipe in recipes]) for recipes in bursts][1:]
    return [each["plain"] for each in found], [each["paused"] for each in found]


async def step_costs(device: str) -> dict[str, float]:
    """Return the milliseconds of a step outside of the denoiser, by family; the device is as for ``running_baseline``."""
    async with _running("small_models", "steps", device, calm=True) as lines:
        found: dict[str, float] = await lines.answer()
    return found


async def format_errors(device: str) -> dict[str, dict[str, float]]:
    """Return ``FormatErrors`` by family, as JSON has them; the device is as for ``running_baseline``."""
    async with _running("formats", device, calm=True) as lines:
        found: dict[str, dict[str, float]] = await lines.answer()
    return found


async def make_editor(folder: str) -> None:
    """Make a small model that edits pictures in a folder, in a process of its own. Raises RuntimeError if it fails."""
    async with _running("small_models", "editor", folder, calm=True) as lines:
        await lines.answer()


@asynccontextmanager
async def _running(module: str, *arguments: str, calm: bool) -> AsyncIterator[LineProcess]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", f"adapters.cli.benchmark.{module}", *arguments),
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        env=child_environment({}, offline=True, calm=calm),
    )
    try:
        yield LineProcess(process)
    finally:
        await end_process(process, 5.0)


@dataclass(frozen=True, slots=True)
class EventMark:
    """A step or the end of a recipe, with its time by the performance counter."""

    at: float
    recipe_id: str
    step: int
    done: bool


class RecordingEngine(ProcessEngine):
    """A ProcessEngine that records the times of its events."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        self.marks: list[EventMark] = []
        self.begun = 0.0
        """Time of the first call of ``paint`` since ``clear``."""
        self._marked = asyncio.Event()

    async def paint(
        self, recipes: Sequence[Recipe], lane: Lane = Lane.INTERACTIVE, slot: str = ""
    ) -> AsyncGenerator[Event]:
        """See ProcessEngine."""
        self.begun = self.begun or time.perf_counter()
        async with aclosing(super().paint(recipes, lane, slot)) as events:
            async for event in events:
                step = event.step if isinstance(event, Step) else 0
                self.marks.append(EventMark(time.perf_counter(), event.recipe_id, step, isinstance(event, Image)))
                self._marked.set()
                yield event

    def clear(self) -> None:
        """Delete the recorded events."""
        self.marks.clear()
        self.begun = 0.0

    async def stepping(self, job_id: int, steps: int) -> None:
        """Wait until a job has taken ``steps`` steps."""
        while not any(m.recipe_id.startswith(f"{job_id}:") and m.step >= steps for m in self.marks):
            self._marked.clear()
            await self._marked.wait()

    def first(self, job_id: int, *, done: bool) -> float:
        """Return the time of a job's first step or picture. Raises ValueError if there is none."""
        found = (m.at for m in self.marks if m.recipe_id.startswith(f"{job_id}:") and m.done is done)
        at = next(found, None)
        if at is None:
            raise ValueError(f"job {job_id} was not drawn")
        return at


@dataclass(frozen=True, slots=True)
class BurstResult:
    """The result of a burst.

    Attributes:
        seconds: Seconds from the first request until every picture is stored.
        idle_share: Idle share of the engine's time between its first request and its last picture.
        first_step: Seconds from each request to its first step.
        picture: Seconds from each request to its picture.
        encoded: Encoded prompts.
    """

    seconds: float
    idle_share: float
    first_step: list[float]
    picture: list[float]
    encoded: int


@dataclass(slots=True)
class BenchmarkClient:
    """A client for many people, each with one request."""

    easel: Easel
    engine: RecordingEngine
    _events: itertools.count[int] = field(default_factory=itertools.count)
    _people: dict[int, Actor] = field(default_factory=dict)

    async def ask(self, recipe: Recipe) -> int:
        """Request a picture as one person; returns the job's id."""
        number = next(self._events)
        form = DrawForm(
            recipe.prompt,
            size=f"{recipe.width}x{recipe.height}",
            steps=str(recipe.steps),
            seed=str(recipe.seed),
            guidance=f"{recipe.guidance:g}",
            model=recipe.model,
            references=tuple([await asyncio.to_thread(Path(path).read_bytes) for path in recipe.references]),
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

    async def burst(self, recipes: Sequence[Recipe]) -> BurstResult:
        """Request all recipes at once, and wait for all jobs."""
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
        return BurstResult(
            seconds,
            max(0.0, 1 - busy / drawing),
            [self.engine.first(job, done=False) - began for job in jobs],
            [self.engine.first(job, done=True) - began for job in jobs],
            after.prompts_encoded - before.prompts_encoded,
        )

    async def acks(self, recipe: Recipe, count: int, pause: float) -> list[float]:
        """Make ``count`` requests while a long job runs, and cancel them; returns the seconds of each answer."""
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
        """Cancel a job as its asker."""
        ref = EventRef(f"bench:{next(self._events)}")
        await self.easel.studio.press(self._people[job_id], _PLACE, ButtonPress("cancel", job_id), ref)

    async def preempt(self, long: Recipe, short: Recipe) -> int:
        """Return the steps of a long job between a short request and the short job's first step."""
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
