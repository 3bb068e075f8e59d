"""ProcessEngine: the engine's contract, kept by a child process that holds the device."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from engine import catalogue, upscaler_file
from engine.contract import (
    ERRORS,
    EngineConfig,
    EngineError,
    EngineLost,
    EngineState,
    Event,
    Failed,
    Image,
    Lane,
    Preview,
    Profile,
    Recipe,
    Step,
    UnknownModel,
)
from engine.host import wire
from engine.host.fingerprint import kind_of, setup_of, with_more
from engine.host.spawn import COMMAND, environment
from engine.host.supervisor import Supervisor
from engine.host.timeouts import Timeouts
from engine.hub.needs import needs, ready

SLOTS = 4
"""Paints that one device gains from; the more there are, the less the queue decides who is next."""


@dataclass(slots=True, eq=False)
class _Paint:
    """A paint that somebody is iterating over: what is still open in it, and what it has not told yet.

    Attributes:
        lane: How urgent it is.
        open: The recipes that have not ended, by ticket.
        news: What happened, with its ticket; None wakes the reader when a recipe was dropped.
        looked: Those that somebody looks at.
    """

    lane: Lane
    open: dict[int, Recipe]
    news: asyncio.Queue[tuple[int, Event] | EngineLost | None] = field(default_factory=asyncio.Queue)
    looked: set[int] = field(default_factory=set)


class ProcessEngine:
    """Draws in a process of its own (``python -m engine.host.child``). Obeys ``engine.contract.Engine``.

    Args:
        config: What to draw with.
        patience: Limits of the supervision; tests make them short.
        command: How the child is started; tests put another program in its place.

    Raises:
        UnknownModel: ``config.model`` is no known model and no usable folder, or ``config.upscaler`` no file of
            weights. Reads a few small files.
    """

    def __init__(
        self, config: EngineConfig, patience: Timeouts | None = None, command: Sequence[str] = COMMAND
    ) -> None:
        models = catalogue.specs(config.model, config.models_dir, config.models_file, ready)
        if config.upscaler:
            upscaler_file.check(Path(config.upscaler))
        self._profiles = tuple(spec.profile for spec in models)
        self._names = frozenset(profile.name for profile in self._profiles)
        self._setups = {spec.profile.name: setup_of(spec) for spec in models}
        self._tickets = itertools.count(1)
        self._paints: dict[int, _Paint] = {}
        self._task: asyncio.Task[None] | None = None
        setup = wire.Setup(
            models=models,
            models_dir=config.models_dir,
            device=config.device,
            precision=config.precision,
            idle_unload=config.idle_unload * 60,
            compile=config.compile,
            upscaler=config.upscaler,
            step_cache=config.step_cache,
        )
        local = not any(needs(spec) for spec in models)
        self._child = Supervisor(
            model=self._profiles[0].name,
            setup=setup,
            command=command,
            environment=environment(config.environment, offline=local),
            patience=patience or Timeouts(),
            begin=self._tell_all,
            hear=self._hear,
            lose=self._lose,
            load=self._load,
        )

    @property
    def pid(self) -> int | None:
        """Process id of the child that runs now; None between two of them."""
        return self._child.pid

    async def start(self) -> None:
        """Begin to load and warm; returns at once. ``state`` tells how it goes."""
        if self._task is None and self._child.error is None:
            self._task = asyncio.create_task(self._child.run(), name="engine")

    async def aclose(self) -> None:
        """End the child within 5 s; paints that are open raise EngineLost."""
        closed = EngineLost("The engine was closed.")
        self._child.close(closed)
        self._lose(closed)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def warm(self) -> None:
        """Return once the phase is WARM (or IDLE: it warms again by itself). Raises EngineError with a clear sentence when it becomes BROKEN."""
        await self._child.settled()

    def profiles(self) -> tuple[Profile, ...]:
        """What can be asked for; the first is the default."""
        return self._profiles

    def slots(self) -> int:
        """How many paints are worth having open: what is drawn, what comes next, and short ones that pass both."""
        return SLOTS

    def batch(self, recipe: Recipe) -> int:
        """How many recipes of this model and size are worth painting together."""
        return catalogue.batch(recipe)

    def state(self) -> EngineState:
        """What it is doing now."""
        return self._child.state

    async def paint(self, recipes: Sequence[Recipe], lane: Lane = Lane.INTERACTIVE) -> AsyncGenerator[Event]:
        """See ``engine.contract.Engine.paint``. What is opened before the engine is warm waits for it.

        Raises:
            EngineLost: The child died, hung or was closed.
        """
        paint = _Paint(lane, {next(self._tickets): recipe for recipe in recipes})
        self._paints.update(dict.fromkeys(paint.open, paint))
        for ticket, recipe in paint.open.items():
            if recipe.model not in self._names:
                error = UnknownModel(f"There is no model {recipe.model!r} here.")
                paint.news.put_nowait((ticket, Failed(recipe.id, error)))
        try:
            if self._child.error is not None:
                self._lose(self._child.error)
            self._tell(paint)
            self._child.watch()
            while paint.open:
                news = await paint.news.get()
                if isinstance(news, EngineLost):
                    raise EngineLost(*news.args)
                if news is None or news[0] not in paint.open:
                    continue  # dropped after it was said and before it was heard
                ticket, event = news
                if not isinstance(event, Step | Preview):
                    self._close(paint, [ticket])
                yield event
        finally:
            self._drop(paint, list(paint.open))

    async def drop(self, recipe_id: str) -> None:
        """Take a recipe out within one step; its paint says nothing more about it. Unknown ids are ignored."""
        for paint in set(self._paints.values()):
            self._drop(paint, [t for t, r in paint.open.items() if r.id == recipe_id])

    async def set_preview(self, recipe_id: str, *, enabled: bool) -> None:
        """Somebody looks (or no longer does) at how this recipe comes along."""
        for paint in set(self._paints.values()):
            for ticket in [t for t, r in paint.open.items() if r.id == recipe_id]:
                (paint.looked.add if enabled else paint.looked.discard)(ticket)
                self._child.send(wire.SetPreview(ticket, enabled))

    def _tell(self, paint: _Paint) -> None:
        """Send a paint's open recipes to the child, but those of models that it does not have."""
        recipes = {t: r for t, r in paint.open.items() if r.model in self._names}
        if recipes:
            self._child.send(wire.Paint(paint.lane, tuple(recipes), tuple(recipes.values())))
            for ticket in paint.looked & recipes.keys():
                self._child.send(wire.SetPreview(ticket, enabled=True))

    def _tell_all(self) -> None:
        for paint in dict.fromkeys(self._paints.values()):
            self._tell(paint)

    def _close(self, paint: _Paint, tickets: Sequence[int]) -> None:
        for ticket in tickets:
            paint.open.pop(ticket, None)
            paint.looked.discard(ticket)
            self._paints.pop(ticket, None)
        self._child.watch()

    def _drop(self, paint: _Paint, tickets: Sequence[int]) -> None:
        if tickets:
            self._close(paint, tickets)
            self._child.send(wire.Drop(tuple(tickets)))
            paint.news.put_nowait(None)

    def _hear(self, message: wire.StepDone | wire.PreviewReady | wire.ImageReady | wire.RecipeFailed) -> None:
        """Pass what the child said on to the paints that it is about; the dropped have none."""
        match message:
            case wire.StepDone(tickets, done, steps, seconds):
                drawn = [p.open[t] for t in tickets if (p := self._paints.get(t)) is not None]
                if seconds and len(drawn) == len(tickets):
                    self._child.pace.saw(drawn[0].width * drawn[0].height, len(drawn), seconds)
                for ticket, step, of in zip(tickets, done, steps, strict=True):
                    self._say(ticket, partial(_step, step=step, of=of))
            case wire.PreviewReady(ticket, mime, payload):
                self._say(ticket, lambda r: Preview(r.id, payload, mime))
            case wire.ImageReady():
                device = kind_of(self._child.state.device)
                self._say(message.ticket, lambda r: _image(r, message, device, self._setups[r.model]))
            case wire.RecipeFailed(ticket, code, problem):
                self._say(ticket, lambda r: Failed(r.id, ERRORS.get(code, EngineError)(problem)))

    def _say(self, ticket: int, event: Callable[[Recipe], Event]) -> None:
        paint = self._paints.get(ticket)
        if paint is not None:
            paint.news.put_nowait((ticket, event(paint.open[ticket])))

    def _lose(self, error: EngineError) -> None:
        """End every open paint: raised by each when the child was lost, a Failed for each recipe when it is broken."""
        for paint in set(self._paints.values()):
            if isinstance(error, EngineLost):
                paint.news.put_nowait(error)
            else:
                for ticket, recipe in paint.open.items():
                    paint.news.put_nowait((ticket, Failed(recipe.id, error)))
        self._paints.clear()

    def _load(self) -> tuple[int, int]:
        """Pixels of the largest picture that is open, and how many of its size may be drawn together."""
        waiting = [r for p in set(self._paints.values()) for r in p.open.values()]
        if not waiting:
            return 0, 0
        largest = max(waiting, key=lambda r: r.width * r.height)
        return largest.width * largest.height, min(len(waiting), catalogue.batch(largest))


def _step(recipe: Recipe, step: int, of: int) -> Step:
    return Step(recipe.id, step, of)


def _image(recipe: Recipe, drawn: wire.ImageReady, device: str, setup: str) -> Image:
    return Image(
        recipe.id,
        drawn.payload,
        drawn.width,
        drawn.height,
        drawn.seconds,
        drawn.mime,
        drawn.precision,
        drawn.revision,
        drawn.notes,
        device,
        with_more(setup, drawn.more),
    )
