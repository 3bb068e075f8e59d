"""The drawing side of the device's process: connects models and executor with the messages to the parent."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image as Pillow

from engine import upscaler_file
from engine.contract import BadRecipe, EngineConfig, EngineError, Image, Preview, UnknownModel
from engine.diffusion.checkpoint_hashes import CheckpointHashes
from engine.diffusion.decoding import side_stream
from engine.diffusion.device import BusyTimer
from engine.diffusion.executor import StepExecutor
from engine.diffusion.image_encoder import ImageEncoder
from engine.diffusion.load_turn import LoadTurn
from engine.diffusion.loader import Loader, warm_recipe, warm_references
from engine.diffusion.lora_library import LoraLibrary
from engine.diffusion.model_manager import LoadedModel, LoadError, ModelManager
from engine.diffusion.request_state import RequestState, StepProgress
from engine.diffusion.text_models import TextModels
from engine.diffusion.text_writer import TextWriter
from engine.diffusion.upscaler import Upscaler
from engine.host import wire
from engine.host.inbox import Inbox
from engine.spec import ModelSpec

Send = Callable[[wire.Message], None]


class Worker:
    """Owns the device. Everything but the image encoder's work happens on the thread that calls ``step``.

    Args:
        setup: Models and device.
        send: Sends a message to the parent; safe between threads.
        inbox: Receives the parent's requests.

    Raises:
        LoadError: There is no such device, the upscaler can't be used, or the default model can't be fetched, loaded
            or warmed up.
    """

    def __init__(self, setup: wire.Setup, send: Send, inbox: Inbox) -> None:
        self._send = send
        self._inbox = inbox
        config = setup.config
        self._idle_unload = config.idle_unload * 60 or None

        def report_download(bytes_done: int, bytes_total: int) -> None:
            loads.downloading(bytes_done, bytes_total)

        loader = Loader(
            config.device,
            config.precision,
            config.models_dir,
            config.compile,
            report_download,
            reserved=_upscaler_bytes(config),
            step_cache=config.step_cache,
            slot=config.slot,
            stay=config.devices > 1,
            turn=_load_turn(config, send),
        )
        loads = _LoadReporter(send, loader)
        self._texts = TextModels(config, loader.device, lambda: send(wire.Heartbeat()))
        loader.reserved += _texts_bytes(self._texts)
        self._busy_timer = BusyTimer()
        self._models = ModelManager(setup.models, loader, loads, hashes=CheckpointHashes(Path(config.models_dir)))
        self._encoder = ImageEncoder()
        outputs = _RequestReporter(send, inbox, self._report_image)
        self._upscaler = _upscaler(config, loader, send)
        self._loras = LoraLibrary(setup.loras)
        self._executor = StepExecutor(
            self._models,
            outputs,
            self._encoder,
            loader.device,
            self._busy_timer,
            upscaler=self._upscaler,
            loras=self._loras,
            stream=side_stream(loader.device),
        )
        self._writer = TextWriter(self._models, self._texts, outputs, loader.device, self._busy_timer)
        self._loader = loader
        self._resident: tuple[str, ...] = ()
        self._sizes: dict[tuple[str, int, int], int] = {}
        self._models.load_default()
        pixels, seconds = self._warm_up(setup.models[0])
        if loader.on_cpu and hasattr(os, "nice"):
            os.nice(5)  # the chats answer first
        self._busy_timer.restart()
        # From now on a model is warm as soon as it is loaded.
        loads.announce(pixels, seconds)
        self._report_resident()

    def step(self) -> None:
        """Take new requests, draw one step and write a slice of a text; wait if there is nothing to do."""
        idle = len(self._executor) == len(self._writer) == 0
        loaded = self._models.loaded or self._texts.loaded
        new = self._inbox.take(wait=idle, seconds=self._idle_unload if loaded else None)
        texts = self._inbox.take_texts()
        if idle and not new and not texts:
            self._executor.prompts.clear()
            self._loras.clear()
            if self._upscaler is not None:
                self._upscaler.unload()
            self._texts.unload()
            self._models.unload()
            self._send(wire.Idle(self._loader.memory()))
        else:
            self._executor.add(new)
            self._writer.add(texts)
            self._executor.step()
            if len(self._writer):
                self._writer.step(alone=len(self._executor) == 0)
                self._send(wire.Heartbeat())
        self._report_resident()
        self._report_sizes()

    def _warm_up(self, spec: ModelSpec) -> tuple[int, float]:
        """Draw a picture that is thrown away; return its pixels and the seconds of its last step.

        Raises LoadError if it can't be drawn.
        """
        outputs = _WarmUpOutputs()
        encoder = ImageEncoder()
        executor = StepExecutor(self._models, outputs, encoder, self._loader.device)
        recipe = warm_recipe(spec)
        with TemporaryDirectory(prefix="easel-") as folder:
            paths = []
            for number, pixels in enumerate(warm_references(spec)):
                paths.append(str(Path(folder) / f"{number}.png"))
                Pillow.fromarray(pixels).save(paths[-1])
            executor.add([RequestState(0, replace(recipe, references=tuple(paths)))])
            while len(executor):
                executor.step()
        encoder.close()
        if isinstance(outputs.error, BadRecipe):  # it names the exception, which the executor has logged
            raise LoadError(
                UnknownModel(
                    f"{spec.profile.title} was loaded and can't draw: its files do not go together; the log says what failed."
                )
            )
        if outputs.error is not None:
            raise LoadError(outputs.error)
        return recipe.width * recipe.height, outputs.seconds

    def _report_resident(self) -> None:
        """Tell the parent which models are on the device, if these are others than it knows."""
        resident = tuple(self._models.resident)
        if set(resident) != set(self._resident):
            self._resident = resident
            self._send(wire.Resident(resident))

    def _report_sizes(self) -> None:
        """Tell the parent how many pictures share a step, where that has changed."""
        for size, pictures in self._executor.sizes.items():
            if self._sizes.get(size) != pictures:
                self._sizes[size] = pictures
                self._send(wire.StepSize(*size, pictures))

    def _report_image(self, ticket: int, image: Image) -> None:
        encoded = self._executor.prompts.encoded
        warm_seconds = time.monotonic() - self._busy_timer.since
        self._send(
            wire.ImageReady(ticket, image, self._loader.memory(), self._busy_timer.seconds, warm_seconds, encoded)
        )


def _load_turn(config: EngineConfig, send: Send) -> Callable[[], AbstractContextManager[object]]:
    """Return what is held while a model is loaded: of several devices, one loads at a time."""
    if config.devices == 1:
        return nullcontext
    return LoadTurn(Path(config.models_dir), lambda: send(wire.Heartbeat())).held


def _upscaler_bytes(config: EngineConfig) -> int:
    """Return the bytes of the device that the upscaler needs. Raises LoadError."""
    try:
        return upscaler_file.size(Path(config.upscaler)) if config.upscaler else 0
    except EngineError as e:
        raise LoadError(e) from e


def _texts_bytes(texts: TextModels) -> int:
    """Return the bytes of the device that the models for texts need. Raises LoadError."""
    try:
        return texts.nbytes
    except EngineError as e:
        raise LoadError(e) from e


def _upscaler(config: EngineConfig, loader: Loader, send: Send) -> Upscaler | None:
    """Return the operator's upscaler after a check; None if there is none. Raises LoadError."""
    if not config.upscaler:
        return None
    found = Upscaler(Path(config.upscaler), loader.device, lambda: send(wire.Heartbeat()))
    try:
        found.check()
    except EngineError as e:
        raise LoadError(e) from e
    return found


class _LoadReporter:
    """Tells the parent which model is loaded. Implements ``engine.diffusion.model_manager.LoadListener``."""

    def __init__(self, send: Send, loader: Loader) -> None:
        self._send = send
        self._loader = loader
        self._last: wire.Warm | None = None
        self._announced = False
        self._changing = False

    def downloading(self, bytes_done: int, bytes_total: int) -> None:
        """See ``engine.hub.errors.ProgressCallback``."""
        self._changing = True
        self._send(wire.Downloading(bytes_done, bytes_total))

    def on_loading(self, spec: ModelSpec) -> None:
        self._changing = True
        self._send(wire.Warming(spec.profile.name, self._loader.title))

    def on_loaded(self, loaded: LoadedModel, seconds: float) -> None:
        self._changing = False
        self._last = wire.Warm(
            loaded.spec.profile.name,
            loaded.precision,
            loaded.plan,
            loaded.revision,
            self._loader.memory(),
            seconds,
            placements=() if loaded.memory is None else (loaded.memory.placement(loaded.spec.profile.name),),
        )
        if self._announced:
            self._send(self._last)

    def on_load_failed(self, loaded: LoadedModel | None, problem: str) -> None:
        if self._announced and loaded is None:
            self._send(wire.Idle(self._loader.memory(), problem))
            return
        if self._announced and self._changing and self._last is not None:
            # The parent was told of a download, which has ended.
            self._send(self._last)
            self._changing = False
        self._send(wire.Notice(problem))

    def on_notice(self, text: str) -> None:
        self._send(wire.Notice(text))

    def announce(self, pixels: int, seconds: float) -> None:
        """Report the default model as warm, with the pixels of the warm-up picture and the seconds of its last step."""
        assert self._last is not None
        self._announced = True
        self._send(replace(self._last, pixels=pixels, step_seconds=seconds))


class _RequestReporter:
    """Sends the output of requests to the parent, except of those that it dropped. Implements ``OutputHandler`` and ``TextHandler``."""

    def __init__(self, send: Send, inbox: Inbox, send_image: Callable[[int, Image], None]) -> None:
        self._send = send
        self._inbox = inbox
        self._send_image = send_image

    def is_active(self, ticket: int) -> bool:
        return self._inbox.is_active(ticket)

    def wants_preview(self, ticket: int) -> bool:
        return self._inbox.wants_preview(ticket)

    def on_step(self, progress: Sequence[StepProgress], seconds: float) -> None:
        tickets, done, steps = zip(*((p.ticket, p.step, p.steps) for p in progress), strict=True)
        self._send(wire.StepDone(tickets, done, steps, seconds))

    def on_preview(self, ticket: int, preview: Preview) -> None:
        if self._inbox.wants_preview(ticket):
            self._send(wire.PreviewReady(ticket, preview))

    def on_image(self, ticket: int, image: Image) -> None:
        if self._inbox.finish(ticket):
            self._send_image(ticket, image)

    def on_text(self, ticket: int, text: str) -> None:
        if self._inbox.finish(ticket):
            self._send(wire.TextReady(ticket, text))

    def on_failure(self, ticket: int, error: EngineError) -> None:
        if self._inbox.finish(ticket):
            self._send(wire.RequestFailed(ticket, error.code, str(error)))


class _WarmUpOutputs:
    """Keeps the time of the warm-up picture's steps and its error, not the picture. Implements ``OutputHandler``."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.error: EngineError | None = None

    def is_active(self, _ticket: int) -> bool:
        return True

    def wants_preview(self, _ticket: int) -> bool:
        return False

    def on_step(self, _progress: Sequence[StepProgress], seconds: float) -> None:
        self.seconds = seconds

    def on_preview(self, _ticket: int, _preview: Preview) -> None:
        """No preview is wanted."""

    def on_image(self, _ticket: int, _image: Image) -> None:
        """The picture is thrown away."""

    def on_failure(self, _ticket: int, error: EngineError) -> None:
        self.error = error
