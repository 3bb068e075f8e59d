"""The child's drawing side: models, executor and what the parent is told of them, put together."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from engine import upscaler_file
from engine.contract import BadRecipe, EngineError, Image, UnknownModel
from engine.diffusion.device import Busy
from engine.diffusion.executor import StepExecutor, StepProgress
from engine.diffusion.image_encoder import ImageEncoder
from engine.diffusion.loader import Loader, warm_recipe
from engine.diffusion.model_manager import LoadedModel, LoadError, ModelManager
from engine.diffusion.request_state import RequestState
from engine.diffusion.upscaler import Upscaler
from engine.host import wire
from engine.host.inbox import Inbox
from engine.spec import ModelSpec

Say = Callable[[wire.Message], None]


class Worker:
    """Holds the device. Everything but what the encoder's thread does happens on the thread that calls ``step``.

    Args:
        setup: What to draw with.
        say: Tells the parent.
        inbox: What the parent selection.

    Raises:
        LoadError: There is no such device, the upscaler can't be used, or the default model can't be had, loaded or
            warmed.
    """

    def __init__(self, setup: wire.Setup, say: Say, inbox: Inbox) -> None:
        self._say = say
        self._inbox = inbox
        self._idle_unload = setup.idle_unload or None
        tells = _ModelNews(say)
        loader = Loader(
            setup.device,
            setup.precision,
            setup.models_dir,
            setup.compile,
            tells.downloading,
            kept=_kept(setup),
            step_cache=setup.step_cache,
        )
        tells.loader = loader
        self._busy = Busy()
        self._models = ModelManager(setup.models, loader, tells)
        self._encoder = ImageEncoder()
        sink = _News(say, inbox, loader.memory, self._busy, lambda: self._executor.prompts.encoded)
        self._upscaler = _upscaler(setup, loader, say)
        self._executor = StepExecutor(
            self._models, sink, self._encoder, loader.device, self._busy, upscaler=self._upscaler
        )
        self._loader = loader
        self._models.load_default()
        pixels, seconds = self._warm(setup.models[0])
        if loader.on_cpu and hasattr(os, "nice"):
            os.nice(5)  # the chats answer first
        self._busy.restart()
        # From now on a model is warm as soon as it is loaded.
        tells.announce(pixels, seconds)

    def step(self) -> None:
        """Take in what has come, and do one step; wait where there is nothing to do."""
        waiting = len(self._executor) == 0
        rows = self._inbox.take(wait=waiting, seconds=self._idle_unload if self._models.loaded else None)
        if waiting and not rows:
            self._executor.prompts.clear()
            if self._upscaler is not None:
                self._upscaler.unload()
            self._models.unload()
            self._say(wire.Idle(self._loader.memory()))
            return
        self._executor.add(rows)
        self._executor.step()

    def _warm(self, spec: ModelSpec) -> tuple[int, float]:
        """Draw one throw-away picture; return its pixels and the seconds of its last step.

        Raises LoadError when even that can't be drawn.
        """
        sink = _WarmNews()
        encoder = ImageEncoder()
        executor = StepExecutor(self._models, sink, encoder, self._loader.device)
        recipe = warm_recipe(spec)
        executor.add([RequestState(0, recipe)])
        while len(executor):
            executor.step()
        encoder.close()
        if isinstance(sink.error, BadRecipe):  # it names the exception, which the executor has logged
            raise LoadError(
                UnknownModel(
                    f"{spec.profile.title} was loaded and can't draw: its files do not go together; the log says what failed."
                )
            )
        if sink.error is not None:
            raise LoadError(sink.error)
        return recipe.width * recipe.height, sink.seconds


def _kept(setup: wire.Setup) -> int:
    """Return the bytes of the device that are the upscaler's. Raises LoadError."""
    try:
        return upscaler_file.size(Path(setup.upscaler)) if setup.upscaler else 0
    except EngineError as e:
        raise LoadError(e) from e


def _upscaler(setup: wire.Setup, loader: Loader, say: Say) -> Upscaler | None:
    """Return the operator's upscaler, which is good; None where there is none. Raises LoadError."""
    if not setup.upscaler:
        return None
    found = Upscaler(Path(setup.upscaler), loader.device, lambda: say(wire.Heartbeat()))
    try:
        found.check()
    except EngineError as e:
        raise LoadError(e) from e
    return found


class _ModelNews:
    """Tells the parent which model is on the device. Obeys ``engine.diffusion.model_manager.LoadListener``.

    Attributes:
        loader: Who loads them; set before anything is told.
    """

    loader: Loader

    def __init__(self, say: Say) -> None:
        self._say = say
        self._first: wire.Warm | None = None
        self._begun = False
        self._changing = False

    def downloading(self, bytes_done: int, bytes_total: int) -> None:
        """See ``engine.hub.errors.ProgressCallback``."""
        self._changing = True
        self._say(wire.Downloading(bytes_done, bytes_total))

    def on_loading(self, spec: ModelSpec) -> None:
        self._changing = True
        self._say(wire.Warming(spec.profile.name, self.loader.title))

    def on_loaded(self, loaded: LoadedModel, seconds: float) -> None:
        self._changing = False
        self._first = wire.Warm(
            loaded.spec.profile.name, loaded.precision, loaded.plan, loaded.revision, self.loader.memory(), seconds
        )
        if self._begun:
            self._say(self._first)

    def on_load_failed(self, loaded: LoadedModel | None, problem: str) -> None:
        if self._begun and loaded is None:
            self._say(wire.Idle(self.loader.memory(), problem))
            return
        if self._begun and self._changing and self._first is not None:
            # The parent was told of a download, which has ended.
            self._say(self._first)
            self._changing = False
        self._say(wire.Notice(problem))

    def on_notice(self, text: str) -> None:
        self._say(wire.Notice(text))

    def announce(self, pixels: int, seconds: float) -> None:
        """The throw-away picture of so many pixels is done, its last step in so many seconds: say so."""
        assert self._first is not None
        self._begun = True
        self._say(replace(self._first, pixels=pixels, step_seconds=seconds))


class _News:
    """Tells the parent what comes of the rows; one that was dropped is mentioned no more. Obeys ``OutputHandler``."""

    def __init__(
        self, say: Say, inbox: Inbox, memory: Callable[[], int], busy: Busy, encoded: Callable[[], int]
    ) -> None:
        self._say = say
        self._inbox = inbox
        self._memory = memory
        self._busy = busy
        self._encoded = encoded

    def is_active(self, ticket: int) -> bool:
        return self._inbox.is_active(ticket)

    def wants_preview(self, ticket: int) -> bool:
        return self._inbox.wants_preview(ticket)

    def on_step(self, progress: Sequence[StepProgress], seconds: float) -> None:
        tickets, done, steps = zip(*((p.ticket, p.step, p.steps) for p in progress), strict=True)
        self._say(wire.StepDone(tickets, done, steps, seconds))

    def on_preview(self, ticket: int, data: bytes, mime: str) -> None:
        if self._inbox.wants_preview(ticket):
            self._say(wire.PreviewReady(ticket, mime, data))

    def on_image(self, ticket: int, image: Image) -> None:
        if self._inbox.finish(ticket):
            self._say(
                wire.ImageReady(
                    ticket,
                    image.width,
                    image.height,
                    image.seconds,
                    image.precision,
                    image.revision,
                    image.notes,
                    self._memory(),
                    self._busy.seconds,
                    time.monotonic() - self._busy.since,
                    self._encoded(),
                    image.mime,
                    image.data,
                    image.setup,
                )
            )

    def on_failure(self, ticket: int, error: EngineError) -> None:
        if self._inbox.finish(ticket):
            self._say(wire.RecipeFailed(ticket, error.code, str(error)))


class _WarmNews:
    """Hears of the throw-away picture: how long a step takes is worth knowing, what becomes of it is not."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.error: EngineError | None = None

    def is_active(self, _ticket: int) -> bool:
        return True

    def wants_preview(self, _ticket: int) -> bool:
        return False

    def on_step(self, _progress: Sequence[StepProgress], seconds: float) -> None:
        self.seconds = seconds

    def on_preview(self, _ticket: int, _data: bytes, _mime: str) -> None:
        """Nobody looks."""

    def on_image(self, _ticket: int, _image: Image) -> None:
        """Thrown away."""

    def on_failure(self, _ticket: int, error: EngineError) -> None:
        self.error = error
