"""ProcessEngine: the engine's contract, implemented with a process that holds the device."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine import catalogue, lora_catalogue, text_folder, upscaler_file
from engine.backoff import Backoff
from engine.contract import (
    ERRORS,
    CannotWrite,
    EngineConfig,
    EngineError,
    EngineLost,
    EngineState,
    Event,
    Failed,
    Lane,
    LoraInfo,
    OutOfMemory,
    Preview,
    Profile,
    Recipe,
    Slot,
    Step,
    TextTask,
    UnknownModel,
)
from engine.host import devices, wire
from engine.host.child_process import ChildFailed, ChildProcess, child_environment, module_command
from engine.host.connection import Connect, WorkerConnection
from engine.host.frames import WireError
from engine.host.supervision import EngineStatus, StepTimer, Timeouts
from engine.hub.needs import needs_hub, ready
from engine.spec import LoraSpec, ModelSpec

SLOT = "0"
"""Id of the only slot."""

CALLS = 4
"""Calls of ``paint`` that one device gains from; with more of them the queue decides less about who is next."""

COMMAND = module_command("engine.host.child")

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _PaintCall:
    """An open call of ``paint``.

    Attributes:
        lane: How urgent it is.
        open: Recipes that have not ended, by ticket.
        events: What happened, with its ticket; None wakes the reader after a recipe was dropped.
        previewed: Tickets whose previews are wanted.
    """

    lane: Lane
    open: dict[int, Recipe]
    events: asyncio.Queue[tuple[int, Event] | EngineLost | None] = field(default_factory=asyncio.Queue)
    previewed: set[int] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class _TextCall:
    """An open call of ``expand`` or ``describe``, and where its text comes."""

    task: TextTask
    text: asyncio.Future[str]


@dataclass(frozen=True, slots=True)
class Models:
    """What the files of models say, which engines of several devices share.

    Attributes:
        specs: Models that recipes may name; the first is the default.
        loras: LoRAs that recipes may name.
        edit_model: Name of the model that serves edits when the default one can't; empty for none.
    """

    specs: tuple[ModelSpec, ...]
    loras: tuple[LoraSpec, ...]
    edit_model: str

    @classmethod
    def read(cls, config: EngineConfig) -> Models:
        """Read small files, and the header of each LoRA; log what is left out.

        Raises:
            UnknownModel: ``config.model`` is no known model and no usable folder, ``config.edit_model`` no such one that
                can edit, ``config.upscaler`` no file of weights, or a model for texts can't be used.
        """
        found = catalogue.logged(
            config.model, config.models_dir, config.models_file, ready, edit_model=config.edit_model
        )
        if config.upscaler:
            upscaler_file.check(Path(config.upscaler))
        for setting, source in ((text_folder.TEXT, config.text_model), (text_folder.CAPTION, config.caption_model)):
            if source:
                text_folder.locate(setting, source, config.models_dir)
        return cls(found.specs, lora_catalogue.loras(config.lora_dir, config.models_file), found.edit_model)


class ProcessEngine:
    """Draws in a process that it starts, watches and starts again. Implements ``engine.contract.Engine``.

    Args:
        config: Models and device.
        timeouts: Limits of the supervision; tests make them short.
        command: How the child is started (``python -m engine.host.child``); tests put another program in its place.
        connect: Starts the process in another way, such as on another machine; None: as a child.
        models: What ``Models.read`` returned for the configuration, where several engines share it; None: it is read.

    Raises:
        UnknownModel: As ``Models.read``.
    """

    def __init__(
        self,
        config: EngineConfig,
        timeouts: Timeouts | None = None,
        command: Sequence[str] = COMMAND,
        connect: Connect | None = None,
        models: Models | None = None,
    ) -> None:
        found = models or Models.read(config)
        own = bool(config.text_model)
        self._profiles = tuple(replace(spec.profile, expands=spec.profile.expands or own) for spec in found.specs)
        self._can_describe = bool(config.caption_model)
        self._edit_model = found.edit_model
        self._names = frozenset(profile.name for profile in self._profiles)
        self._loras = tuple(spec.info for spec in found.loras)
        config = devices.seen_alone(config)
        self._setup = wire.Setup(found.specs, replace(config, environment={}), found.loras)
        self._timeouts = timeouts or Timeouts()
        self._command = command
        self._connect = connect or self._start_child
        self._environment = child_environment(config.environment, offline=not any(map(needs_hub, found.specs)))
        self._tickets = itertools.count(1)
        self._calls: dict[int, _PaintCall] = {}
        self._texts: dict[int, _TextCall] = {}
        self._name = f"device {config.slot}" if config.devices > 1 else "device"
        self._status = EngineStatus(self._profiles[0].name, config.slot if config.devices > 1 else "")
        self._timer = StepTimer()
        self._sizes: dict[tuple[str, int, int], int] = {}
        self._child: WorkerConnection | None = None
        self._last_lines: Sequence[str] = ()
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Id of the process that runs now; None between two of them."""
        return None if self._child is None else self._child.pid

    async def start(self) -> None:
        """Begin to load and warm; returns at once. ``state`` tells how it goes."""
        if self._task is None and self._status.error is None:
            self._task = asyncio.create_task(self._run(), name="engine")

    async def aclose(self) -> None:
        """End the process within 5 s; open calls of ``paint`` raise EngineLost."""
        closed = EngineLost("The engine was closed.")
        self._status.closed(closed)
        self._end_calls(closed)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def warm(self) -> None:
        """Return when the phase is WARM, or IDLE. Raises EngineError with a clear sentence if it becomes BROKEN."""
        await self._status.settled()

    def profiles(self) -> tuple[Profile, ...]:
        """Profiles of the models that recipes may name; the first is the default."""
        return self._profiles

    def loras(self) -> tuple[LoraInfo, ...]:
        """LoRAs that recipes may name."""
        return self._loras

    def edit_model(self) -> str:
        """Name of the profile that serves edits when the default one can't; empty for none."""
        return self._edit_model

    def slots(self) -> tuple[Slot, ...]:
        """Its only device: open calls of ``paint`` are the current one, the next one, and short ones that pass both."""
        return (Slot(SLOT, self._status.state, CALLS),)

    async def slots_changed(self) -> None:
        """Return after the next change of the phase or of the models on the device."""
        await self._status.changed()

    def batch(self, recipe: Recipe, slot: str = "") -> int:  # noqa: ARG002 - there is one slot
        """How many recipes of this model and size should be drawn in one call."""
        return self._sizes.get((recipe.model, recipe.width, recipe.height)) or catalogue.batch(recipe)

    def state(self) -> EngineState:
        """What the engine is doing now."""
        return self._status.state

    async def paint(
        self, recipes: Sequence[Recipe], lane: Lane = Lane.INTERACTIVE, slot: str = ""
    ) -> AsyncGenerator[Event]:
        """See ``engine.contract.Engine.paint``. A call before the engine is warm waits for it.

        Raises:
            EngineLost: The child died, hung or was closed, or there is no such slot.
        """
        if slot not in {"", SLOT}:
            raise EngineLost(f"There is no slot {slot!r}.")
        call = _PaintCall(lane, {next(self._tickets): recipe for recipe in recipes})
        self._calls.update(dict.fromkeys(call.open, call))
        for ticket, recipe in call.open.items():
            if (error := self._refusal(recipe)) is not None:
                call.events.put_nowait((ticket, Failed(recipe.id, error)))
        try:
            if self._status.error is not None:
                self._end_calls(self._status.error)
            self._request(call)
            self._limit_silence()
            while call.open:
                event = await call.events.get()
                if isinstance(event, EngineLost):
                    raise EngineLost(*event.args)
                if event is None or event[0] not in call.open:
                    continue  # dropped after the child reported it and before it was read
                ticket, what = event
                if not isinstance(what, Step | Preview):
                    self._close(call, [ticket])
                yield what
        finally:
            self._drop(call, list(call.open))

    async def drop(self, recipe_id: str) -> None:
        """Take a recipe out within one step; its call yields nothing more of it. Unknown ids are ignored."""
        for call in set(self._calls.values()):
            self._drop(call, [t for t, r in call.open.items() if r.id == recipe_id])

    async def set_preview(self, recipe_id: str, *, enabled: bool) -> None:
        """Turn previews of a recipe on or off. Unknown ids are ignored."""
        for call in set(self._calls.values()):
            for ticket in [t for t, r in call.open.items() if r.id == recipe_id]:
                (call.previewed.add if enabled else call.previewed.discard)(ticket)
                self._send(wire.SetPreview(ticket, enabled))

    async def expand(self, model: str, prompt: str, *, seed: int = 0) -> str:
        """See ``engine.contract.Engine.expand``. A call before the engine is warm waits for it."""
        profile = next((profile for profile in self._profiles if profile.name == model), None)
        if profile is None:
            raise UnknownModel(f"There is no model {model!r} here.")
        if not profile.expands:
            raise CannotWrite(
                f"The text encoder of {profile.title} can't write: set EASEL_TEXT_MODEL to the folder of a language model."
            )
        return await self._write(TextTask(model, prompt, seed))

    def can_describe(self) -> bool:
        """Whether a model describes pictures."""
        return self._can_describe

    async def describe(self, image: str) -> str:
        """See ``engine.contract.Engine.describe``. A call before the engine is warm waits for it."""
        if not self._can_describe:
            raise CannotWrite("No model describes pictures: set EASEL_CAPTION_MODEL to the folder of one.")
        return await self._write(TextTask(image=image))

    async def _write(self, task: TextTask) -> str:
        if self._status.error is not None:
            raise self._status.error
        ticket, call = next(self._tickets), _TextCall(task, asyncio.get_running_loop().create_future())
        self._texts[ticket] = call
        self._send(wire.Write(ticket, task))
        self._limit_silence()
        try:
            return await call.text
        finally:
            if self._texts.pop(ticket, None) is not None:
                self._send(wire.Drop((ticket,)))
            self._limit_silence()

    # The calls of paint

    def _refusal(self, recipe: Recipe) -> EngineError | None:
        """Return the error of a recipe that names an unknown model or LoRA; None where all of them are known."""
        if recipe.model not in self._names:
            return UnknownModel(f"There is no model {recipe.model!r} here.")
        names = [lora.name for lora in self._loras]
        unknown = next((lora.name for lora in recipe.loras if lora.name not in names), None)
        return None if unknown is None else lora_catalogue.unknown_lora(unknown, names)

    def _request(self, call: _PaintCall) -> None:
        """Send a call's open recipes to the child, except those of unknown models and LoRAs."""
        recipes = {t: r for t, r in call.open.items() if self._refusal(r) is None}
        if recipes:
            self._send(wire.Draw(call.lane, tuple(recipes), tuple(recipes.values())))
            for ticket in call.previewed & recipes.keys():
                self._send(wire.SetPreview(ticket, enabled=True))

    def _close(self, call: _PaintCall, tickets: Sequence[int]) -> None:
        for ticket in tickets:
            call.open.pop(ticket, None)
            call.previewed.discard(ticket)
            self._calls.pop(ticket, None)
        self._limit_silence()

    def _drop(self, call: _PaintCall, tickets: Sequence[int]) -> None:
        if tickets:
            self._close(call, tickets)
            self._send(wire.Drop(tuple(tickets)))
            call.events.put_nowait(None)

    def _end_calls(self, error: EngineError) -> None:
        """End every open call: each raises EngineLost, or each recipe fails with another error."""
        for call in set(self._calls.values()):
            if isinstance(error, EngineLost):
                call.events.put_nowait(error)
            else:
                for ticket, recipe in call.open.items():
                    call.events.put_nowait((ticket, Failed(recipe.id, error)))
        self._calls.clear()
        for ticket in list(self._texts):
            self._end_text(ticket, error)

    def _dispatch(self, message: wire.Message) -> None:
        """Pass a message about requests on to their calls; a dropped request has none."""
        match message:
            case wire.StepDone(tickets, done, steps, seconds):
                drawn = [p.open[t] for t in tickets if (p := self._calls.get(t)) is not None]
                if seconds and len(drawn) == len(tickets):
                    self._timer.record(drawn[0].seen_pixels, len(drawn), seconds)
                for ticket, step, of in zip(tickets, done, steps, strict=True):
                    if (call := self._calls.get(ticket)) is not None:
                        call.events.put_nowait((ticket, Step(call.open[ticket].id, step, of)))
            case wire.StepSize(model, width, height, pictures):
                self._sizes[model, width, height] = pictures
            case wire.PreviewReady(ticket, event) | wire.ImageReady(ticket, event):
                if (call := self._calls.get(ticket)) is not None:
                    call.events.put_nowait((ticket, event))
            case wire.RequestFailed(ticket, code, problem):
                error = ERRORS.get(code, EngineError)(problem)
                if (call := self._calls.get(ticket)) is not None:
                    call.events.put_nowait((ticket, Failed(call.open[ticket].id, error)))
                self._end_text(ticket, error)
            case wire.TextReady(ticket, text):
                self._end_text(ticket, text)
            case wire.Warm(pixels=pixels, step_seconds=seconds) if pixels:
                self._timer.record(pixels, 1, seconds)

    def _end_text(self, ticket: int, end: str | EngineError) -> None:
        """End the call of ``expand`` or ``describe`` with this ticket, if there is one."""
        call = self._texts.pop(ticket, None)
        if call is None or call.text.done():
            return
        if isinstance(end, str):
            call.text.set_result(end)
        else:
            call.text.set_exception(end)

    # The process

    async def _run(self) -> None:
        """Start processes until the engine is broken; cancel it to end the one that runs."""
        backoff = Backoff(self._timeouts.first_pause, self._timeouts.longest_pause)
        losses: deque[float] = deque(maxlen=self._timeouts.losses or 1)
        was_warm = False
        while True:
            end = await self._run_child()
            if self._status.ready:
                was_warm = True
                backoff.succeed()
            else:
                backoff.fail()
            # A model that fitted before fits again when another process has given the device's memory back.
            crowded = isinstance(end, wire.Broken) and was_warm and end.code == OutOfMemory.code
            if isinstance(end, wire.Broken) and not end.passing and not crowded:
                self._break(ERRORS.get(end.code, EngineError)(end.problem))
                return
            if not was_warm and backoff.failures >= self._timeouts.starts and isinstance(end, ChildFailed):
                tries = f"Tried {backoff.failures} times; see the log."
                self._break(EngineError(f"The model can't be loaded: {end} {tries}"))
                return
            problem, pause = end.problem if isinstance(end, wire.Broken) else str(end), backoff.pause
            if isinstance(end, ChildFailed) and self._rests(losses):
                pause = self._timeouts.rest
                lost = f"It was lost {len(losses)} times within {self._timeouts.period / 60:g} min"
                problem = f"{problem} {lost}, and rests for {pause / 60:g} min; the log says why."
                log.error("%s", problem)
                losses.clear()
            last = " / ".join(self._last_lines)
            log.warning("%s Starting it again in %.1f s. Its last lines: %s", problem, pause, last)
            self._status.lost(problem)
            self._end_calls(EngineLost(problem))
            await asyncio.sleep(pause)
            self._status.restarted()

    def _rests(self, losses: deque[float]) -> bool:
        """Count a loss; return whether there were too many for a quick restart."""
        losses.append(time.monotonic())
        return len(losses) == self._timeouts.losses and losses[-1] - losses[0] < self._timeouts.period

    async def _start_child(self) -> WorkerConnection:
        return await ChildProcess.start(
            self._command, self._environment, wire.CODEC, name=self._name, closing=self._timeouts.closing
        )

    async def _run_child(self) -> wire.Broken | ChildFailed:
        """Run one process to its end and return why it ended."""
        self._status.started()
        self._sizes.clear()
        self._last_lines = ()
        try:
            child = await self._connect()
        except ChildFailed as e:
            return e
        self._child = child
        try:
            child.expect_within(self._timeouts.loading)
            child.send(self._setup)
            for call in dict.fromkeys(self._calls.values()):
                self._request(call)
            for ticket, text in self._texts.items():
                self._send(wire.Write(ticket, text.task))
            while True:
                message = await child.receive()
                if isinstance(message, wire.Broken):
                    return message
                self._status.update(message)
                self._dispatch(message)
                self._limit_silence()
        except ChildFailed as e:
            return e
        except WireError as e:
            child.kill()
            return ChildFailed(f"The {self._name}'s process sent something that is not a message ({e}) and was ended.")
        finally:
            self._child = None
            await child.stop()
            self._last_lines = tuple(child.last_lines)

    def _break(self, error: EngineError) -> None:
        self._status.broken(error)
        self._end_calls(error)

    def _send(self, message: wire.Message) -> None:
        """Send a message to the child; lost if there is none, since the next one is sent all open requests."""
        if self._child is not None:
            self._child.send(message)

    def _limit_silence(self) -> None:
        """Set how long the child may be silent; called after each message, and when requests are opened or closed."""
        if self._child is None:
            return
        if not self._status.ready:
            self._child.expect_within(self._timeouts.loading)
            return
        open_recipes = [r for p in set(self._calls.values()) for r in p.open.values()]
        if not open_recipes:
            self._child.expect_within(self._timeouts.silence if self._texts else None)
            return
        largest = max(open_recipes, key=lambda r: r.seen_pixels)
        step = self._timer.limit(largest.seen_pixels, min(len(open_recipes), self.batch(largest)))
        self._child.expect_within(max(self._timeouts.silence, self._timeouts.steps * step))
