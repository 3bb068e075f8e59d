"""Draws the open requests one denoising step at a time. Each picture ends by itself; a failure ends no other picture."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray

from engine import catalogue
from engine.backoff import Backoff
from engine.contract import MASK_ZOOMED, PROMPT_CUT, SAFER, EngineError, Image, OutOfMemory, Overflow, Preview, Recipe
from engine.diffusion import init_image
from engine.diffusion.decoding import SideDecoder, Stream
from engine.diffusion.device import BusyTimer, StepClock, release, title
from engine.diffusion.errors import engine_error
from engine.diffusion.fingerprint import device_kind, with_extras
from engine.diffusion.image_encoder import JPEG, ImageEncoder, is_one_colour, jpeg, to_uint8
from engine.diffusion.init_image import InitImageReader
from engine.diffusion.lora_library import NO_LORAS, LoraLibrary
from engine.diffusion.memory import apply
from engine.diffusion.memory.estimate import EMBEDDINGS
from engine.diffusion.request_state import (
    BatchKey,
    DecodedImage,
    OutputHandler,
    RequestState,
    StepProgress,
    StepScheduler,
)
from engine.diffusion.step_tuning import BatchTuner, SplitTuner, StepKind
from engine.families.denoise_state import Embedding, PictureState
from engine.families.family import Family, PromptCache
from engine.log_context import about

PREVIEW_SECONDS = 0.25
"""Pause between two previews of a picture: at most four a second."""

INIT_IMAGE_SECONDS = 0.25
"""Time that is spent on reading pictures (at least one file, or one tile to enlarge) before other requests take a step."""

FIRST_PAUSE = 600.0
"""Seconds until a model is loaded in a safer precision again for the same reason, if that did not settle it."""

LONGEST_PAUSE = 6 * 3600.0
"""The longest such pause in seconds; each time doubles it."""

FIRST_CAP = 300.0
"""Seconds for which fewer pictures share a step, or the VAE works in tiles, after memory ran out; each time doubles them."""

LONGEST_CAP = 3600.0
"""The most such seconds."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Cap:
    """How many pictures share a step while the pause after an out-of-memory error is not over."""

    backoff: Backoff
    most: int = 1


class ModelProvider(Protocol):
    """What the executor needs of the model manager."""

    @property
    def resident(self) -> Collection[str]:
        """Names of the models on the device."""

    def family(self, key: BatchKey) -> Family[Any]:
        """Return a model, loaded and fitted to the size of the key. Raises EngineError."""

    def precision(self, key: BatchKey) -> str:
        """The precision in which requests with this key are drawn."""

    def revision(self, model: str) -> str:
        """Commit of the model's files; empty if they have none."""

    def checkpoint_hash(self, model: str) -> str:
        """First digits of the SHA-256 of a model's single file; empty if it has none, or it is not known yet."""

    def reference_pixels(self, model: str) -> int:
        """Most pixels of a reference picture that the model is given; larger ones are scaled down."""

    def setup(self, model: str) -> str:
        """Digest of what decides a picture's pixels besides its recipe (``engine.diffusion.fingerprint``)."""

    def quantisation(self, model: str) -> str:
        """How the weights of a model on the device are quantised and by what; empty where they are not."""

    def max_batch(self, key: BatchKey) -> int:
        """How many pictures with this key fit the device together; at least 1."""

    def decodes_aside(self, key: BatchKey) -> bool:
        """Whether there is room to decode a picture while others of its size take a step."""

    def tiles(self, model: str) -> bool:
        """Whether the VAE of a model works in tiles by its plan."""

    def make_room(self, model: str) -> bool:
        """Unload another model than this one, since memory ran out; False if there is none."""

    def safer_precision(self, key: BatchKey) -> str | None:
        """The next precision in which numbers overflow later; None if there is none."""

    def set_default_precision(self, model: str, precision: str) -> None:
        """Draw the model in this precision from now on, unless a request names another one."""


class StepExecutor:
    """Draws on the thread that calls ``step``; the image encoder writes files on its own thread.

    Args:
        models: Loads and keeps the models.
        outputs: Receives progress, pictures and failures.
        encoder: Turns pixels into files; the caller owns it.
        device: Device whose memory is given back after a failure.
        busy_timer: Measures how long the device works.
        upscaler: Enlarges initial images.
        loras: Prepares the LoRAs of requests.
        stream: Where pictures are decoded while others take steps; None: nowhere.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        models: ModelProvider,
        outputs: OutputHandler,
        encoder: ImageEncoder,
        device: torch.device,
        busy_timer: BusyTimer | None = None,
        *,
        upscaler: init_image.ImageUpscaler | None = None,
        loras: LoraLibrary | None = None,
        stream: Stream | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models = models
        self._outputs = outputs
        self._encoder = encoder
        self._device = device
        self._device_kind = device_kind(title(device))
        self._busy_timer = busy_timer or BusyTimer()
        self._step_clock = StepClock(device)
        self._upscaler = upscaler
        self._loras = loras or LoraLibrary()
        self._open: dict[int, RequestState] = {}
        self._aside = SideDecoder(stream)
        self._drawn: BatchKey | None = None
        self._caps: dict[BatchKey, _Cap] = {}
        self._clock = clock
        self._tiled: WeakKeyDictionary[Family[Any], Backoff] = WeakKeyDictionary()
        self._tuner = BatchTuner()
        self._splits = SplitTuner()
        self._sizes: dict[tuple[str, int, int], int] = {}
        self._retries: defaultdict[tuple[str, str, str], Backoff] = defaultdict(
            lambda: Backoff(FIRST_PAUSE, LONGEST_PAUSE, clock)
        )
        self._resident: frozenset[str] = frozenset()
        self._scheduler = StepScheduler(self._max_batch)
        self.prompts = PromptCache(EMBEDDINGS)

    def __len__(self) -> int:
        return len(self._open)

    @property
    def sizes(self) -> Mapping[tuple[str, int, int], int]:
        """How many pictures share a step, by model, width and height."""
        return self._sizes

    def add(self, requests: Iterable[RequestState]) -> None:
        """Take requests on. Each one that is not dropped ends in one call of ``on_image`` or ``on_failure``."""
        for request in requests:
            self._open[request.ticket] = request
            self._scheduler.add(request)

    def step(self) -> None:
        """Take one step with the scheduled requests, and finish those that it completes.

        Raises:
            torch.AcceleratorError: The device is lost to this process, which must end.
        """
        for ticket in [t for t in self._open if not self._outputs.is_active(t)]:
            self._close(ticket)
        self._take_decoded()
        self._scheduler.loaded = self._models.resident
        batch = self._scheduler.schedule()
        if not batch:
            self._take_decoded(wait=True)
            return
        key = batch[0].key
        if key != self._drawn:
            # A model may be unloaded now: none may be in use on the other stream.
            self._take_decoded(wait=True)
            self._drawn = key
        try:
            family = self._models.family(key)
        except EngineError as error:
            self._unavailable(key, error)
            return
        if (resident := frozenset(self._models.resident)) != self._resident:
            self._resident = resident
            self.prompts.keep(resident)
        for request in batch:
            if request.denoise is not None and request.denoise.lost:
                request.restart(request.precision)
        ready = []
        for request in batch:
            with about([request.recipe.log_name]):
                if request.denoise is not None or self._begin(request, family):
                    ready.append(request)
        # A file that was replaced on the disk gives two sets of the same names.
        for chosen in dict.fromkeys(r.loras for r in ready):
            same = [r for r in ready if r.loras is chosen]
            with about(r.recipe.log_name for r in same):
                done = self._denoise(same, family)
            for request in same if done else ():
                if request.denoise is not None and request.denoise.finished:
                    with about([request.recipe.log_name]):
                        self._finish(request, family, request.denoise)

    def _unavailable(self, key: BatchKey, error: EngineError) -> None:
        """Handle a model that can't be used: requests fail, or go on in the default precision if only theirs is missing."""
        # A picture that is too large concerns its size alone; a model that can't be loaded concerns all sizes.
        every_size = not isinstance(error, OutOfMemory)
        for request in list(self._open.values()):
            theirs = request.key
            same = theirs.model == key.model and key.precision in ("", theirs.precision)
            same = same and key.control in ("", theirs.control)
            if theirs != key and not (every_size and same):
                continue
            if not theirs.precision:
                self._fail(request, error)
            elif request.flat is not None:
                self._deliver(request, request.flat)
            elif request.retried:
                why = f"The numbers of this picture overflowed, and {theirs.precision} can't be had: {error}"
                self._fail(request, Overflow(why))
            else:
                request.restart("")

    def _max_batch(self, request: RequestState) -> int:
        key = request.key
        start, most = catalogue.batch_of(key.pixels), self._models.max_batch(key)
        cap = self._caps.get(key)
        if cap is not None and cap.backoff.resting:
            most = min(most, cap.most)
        # LoRAs and ControlNets have a speed of their own, which is not measured.
        untuned = key.loras or key.control
        return max(1, min(start, most) if untuned else self._tuner.max_batch(self._kind(request), start, most))

    def _kind(self, request: RequestState) -> StepKind:
        key = request.key
        return StepKind(key.model, key.width, key.height, self._models.precision(key), request.weight > 1)

    def _begin(self, request: RequestState, family: Family[Any]) -> bool:
        """Prepare a request for its first step; False if it needs more time, or has failed."""
        request.reader = request.reader or self._reader(request.recipe)
        denoise, failure = None, None
        try:
            with self._busy_timer.measure() as elapsed:
                if request.reader.read_for(INIT_IMAGE_SECONDS):
                    denoise = self._start_denoising(request, family, request.reader)
        except torch.AcceleratorError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever a pipeline raises ends a recipe, not the process
            log.warning("A recipe can't be begun: %r", error)
            failure = engine_error(error)
        if failure is not None:
            # Outside of the except block, which keeps the failed call's tensors alive.
            if self._room_made(failure, request.recipe.model):
                # A reader that has failed is at its end, and would give no pictures.
                request.restart(request.precision)
            else:
                self._fail(request, failure)
            return False
        request.seconds += elapsed.seconds
        if denoise is None:
            return False
        request.reader, request.denoise = None, denoise
        request.begun = True
        request.steps = denoise.steps
        request.weight = denoise.passes
        recipe = request.recipe
        log.debug("A picture of %s begins: %dx%d, %d steps", recipe.model, recipe.width, recipe.height, denoise.steps)
        return True

    def _reader(self, recipe: Recipe) -> InitImageReader:
        return InitImageReader(recipe, self._upscaler, self._models.reference_pixels(recipe.model))

    def _start_denoising(self, request: RequestState, family: Family[Any], inputs: InitImageReader) -> PictureState:
        """Encode the prompts and make the noise."""
        recipe, key = request.recipe, request.key
        request.loras = self._loras.prepare(family, key.loras)
        name = " ".join(filter(None, (recipe.model, self._models.precision(key), request.loras.text)))

        def embed(encode: Callable[[str], Embedding], prompt: str, setting: str = "") -> Embedding:
            found = self.prompts.embed(name, encode, prompt, setting)
            request.extended_prompt |= found.extended
            return found

        with self._loras.active(family, request.loras):
            started: PictureState = family.start(recipe, embed, inputs.image, inputs.references)
            if inputs.control is not None:
                request.controlnet = family.add_control(started, inputs.control)
        return started

    def _denoise(self, batch: Sequence[RequestState], family: Family[Any]) -> bool:
        """Take one step; False if it failed, and its requests are tried again or have ended."""
        states = [r.denoise for r in batch if r.denoise is not None]
        for request, state in zip(batch, states, strict=True):
            state.wants_preview = self._outputs.wants_preview(request.ticket)
        try:
            lengths = family.lengths(states)
            split = (self._kind(batch[0]), lengths)
            apart = bool(lengths) and self._splits.apart(split)
            with self._busy_timer.measure() as elapsed, self._loras.active(family, batch[0].loras or NO_LORAS):
                step = partial(family.step, states, apart=apart)
                self._step_clock.run(step, self._recorder(batch, split, apart=apart))
        except torch.AcceleratorError:
            raise
        except Exception as e:  # noqa: BLE001  # see above
            log.warning("A step of %d failed: %r", len(batch), e)
            error = engine_error(e)
        else:
            self._report_step(batch, states, family, elapsed.seconds)
            return True
        # Outside of the except block, which keeps the failed step's tensors alive.
        if not self._room_made(error, batch[0].recipe.model):
            self._split(batch, error)
        return False

    def _recorder(
        self, batch: Sequence[RequestState], split: tuple[StepKind, tuple[int, ...]], *, apart: bool
    ) -> Callable[[float], None]:
        """Return what records the seconds of a step."""
        (kind, lengths), count = split, len(batch)
        comparable = not (batch[0].key.loras or batch[0].key.control)
        alike = all((r.weight > 1) == kind.guided for r in batch)

        def record(seconds: float) -> None:
            if comparable and lengths:
                self._splits.record(split, seconds, apart=apart)
            if comparable and alike:
                self._tuner.record(kind, count, seconds)

        return record

    def _room_made(self, error: EngineError, model: str) -> bool:
        """Give back what failed work left behind; whether another model was unloaded, so that it may succeed now."""
        self._take_decoded(wait=True)
        release(self._device)
        return isinstance(error, OutOfMemory) and self._models.make_room(model)

    def _report_step(
        self, batch: Sequence[RequestState], states: Sequence[PictureState], family: Family[Any], seconds: float
    ) -> None:
        progress = []
        for request, state in zip(batch, states, strict=True):
            request.seconds += seconds / len(batch)
            request.steps = state.steps - state.done
            progress.append(StepProgress(request.ticket, state.done, state.steps))
        self._outputs.on_step(progress, seconds)
        key = batch[0].key
        if not (key.loras or key.control):
            self._sizes[key.model, key.width, key.height] = self._max_batch(batch[0])
        now = time.monotonic()
        for request, state in zip(batch, states, strict=True):
            if state.wants_preview and not state.finished and now - request.previewed_at >= PREVIEW_SECONDS:
                request.previewed_at = now
                self._preview(request, family, state)

    def _preview(self, request: RequestState, family: Family[Any], state: PictureState) -> None:
        ticket, recipe_id = request.ticket, request.recipe.id

        def encoded(data: bytes | Exception) -> None:
            if isinstance(data, bytes):
                self._outputs.on_preview(ticket, Preview(recipe_id, data, JPEG))

        try:
            with self._busy_timer.measure():
                pixels = family.preview(state)
        except torch.AcceleratorError:
            raise
        except Exception as e:  # noqa: BLE001  # a picture without previews is a picture
            log.warning("A preview failed: %r", e)
            return
        if pixels is not None:
            self._encoder.submit(pixels, encoded, jpeg)

    def _split(self, batch: Sequence[RequestState], error: EngineError) -> None:
        """Handle a failed step: half as many share a step if memory was short; otherwise each is tried alone."""
        if len(batch) == 1:
            self._fail(batch[0], error)
            return
        if isinstance(error, OutOfMemory):
            key = batch[0].key
            cap = self._caps.setdefault(key, _Cap(Backoff(FIRST_CAP, LONGEST_CAP, self._clock)))
            cap.most = len(batch) // 2
            cap.backoff.fail()
            log.warning("%d pictures of %dx%d are too many at once", len(batch), key.width, key.height)
            return
        for request in batch:
            request.restart(request.precision)
            request.alone = True

    def _finish(self, request: RequestState, family: Family[Any], state: PictureState) -> None:
        """Decode a picture, check it, and hand it over or draw it again; aside while others take steps, if possible."""
        rest = self._tiled.get(family)
        if rest is not None and not rest.resting:
            apply.tile(family.pipe, self._models.tiles(request.recipe.model))
        if self._finish_aside(request, family, state):
            return
        try:
            with self._busy_timer.measure() as elapsed:
                finite = state.finite()
                pixels = self._decode(request, family, state) if finite else None
        except torch.AcceleratorError:
            raise
        except Exception as e:  # noqa: BLE001  # see above
            log.warning("A picture can't be decoded: %r", e)
            error = engine_error(e)
        else:
            request.seconds += elapsed.seconds
            if request.denoise is not None:  # else it begins again
                self._decoded(request, state, pixels)
            return
        release(self._device)
        self._fail(request, error)

    def _finish_aside(self, request: RequestState, family: Family[Any], state: PictureState) -> bool:
        """Begin to decode a picture on the other stream; whether that was possible."""
        others = len(self._open) - len(self._aside) > 1
        masked = state.init_image is not None and state.init_image.mask is not None  # which copies from main memory
        if not others or masked or not family.decodes_aside or not self._models.decodes_aside(request.key):
            return False
        try:
            started = self._aside.start(request, state, partial(family.finish, state))
        except torch.AcceleratorError:
            raise
        except Exception as e:  # noqa: BLE001  # see above
            log.warning("A picture can't be decoded while others take steps: %r", e)
            return False
        if started:
            self._scheduler.remove(request.ticket)
        return started

    def _take_decoded(self, *, wait: bool = False) -> None:
        """Hand over what the other stream has decoded; ``wait`` for all of it."""
        for found in self._aside.take(wait=wait):
            request = found.request
            if self._open.get(request.ticket) is request:  # else it was cancelled
                request.seconds += found.seconds
                self._scheduler.add(request)
                self._decoded(request, found.state, found.pixels)

    def _decoded(self, request: RequestState, state: PictureState, pixels: NDArray[np.uint8] | None) -> None:
        """Check a decoded picture, and hand it over or draw it again. None: it overflowed."""
        if pixels is None:
            self._overflowed(request)
        else:
            self._check(request, state, pixels)

    def _decode(self, request: RequestState, family: Family[Any], state: PictureState) -> NDArray[np.uint8] | None:
        """Decode a picture; if memory is short, decode it in tiles, and later ones for a while.

        None if it overflowed, or if it has to begin again because its unfinished state is lost.
        """
        try:
            with self._loras.active(family, request.loras or NO_LORAS):
                return to_uint8(family.finish(state))
        except Exception as e:
            error = engine_error(e)
            if not isinstance(error, OutOfMemory):
                raise
        if not self._room_made(error, request.recipe.model):
            rest = self._tiled.setdefault(family, Backoff(FIRST_CAP, LONGEST_CAP, self._clock))
            if rest.resting:
                raise error
            rest.fail()
            log.warning("%dx%d is decoded in tiles for %.0f s", request.recipe.width, request.recipe.height, rest.pause)
            apply.tile(family.pipe, True)
        if state.lost:
            request.restart(request.precision)
            return None
        return self._decode(request, family, state)

    def _overflowed(self, request: RequestState) -> None:
        """Handle numbers that are not finite: draw this picture again in a safer precision, once."""
        now, safer = self._models.precision(request.key), self._models.safer_precision(request.key)
        model = request.recipe.model
        if request.flat is not None:
            self._deliver(request, request.flat)
        elif safer is not None and not request.retried and self._may_retry(model, safer, "overflow"):
            log.warning("%s overflows in %s: a picture is drawn again in %s", model, now, safer)
            self._retry(request, safer)
        else:
            why = f"The numbers of this picture overflowed in {now}; try another prompt or seed."
            self._fail(request, Overflow(why))

    def _check(self, request: RequestState, state: PictureState, pixels: NDArray[np.uint8]) -> None:
        """Hand a picture over; one of a single colour is drawn again first if a safer precision may help."""
        model = request.recipe.model
        digests = () if request.loras is None else request.loras.digests
        zoomed = state.init_image is not None and state.init_image.zoomed
        precision = self._models.precision(request.key)
        extras = " ".join(filter(None, (request.extras, self._models.quantisation(model))))
        image = DecodedImage(pixels, precision, state.prompt_cut, extras, zoomed, digests)
        flat = is_one_colour(pixels)
        if request.retried:
            if request.flat is None or not flat:
                # The precision was the reason, not the prompt.
                self._set_default_precision(model, image.precision)
        elif flat and not init_image.is_plain(state.init_image):
            safer = self._models.safer_precision(request.key)
            if safer is not None and self._may_retry(model, safer, "flat"):
                request.flat = image
                self._retry(request, safer)
                return
        self._deliver(request, image)

    def _may_retry(self, model: str, precision: str, why: str) -> bool:
        """Whether a request may be drawn in a precision for which the model is loaded anew while everybody waits."""
        if precision == self._default_precision(model):
            return True
        if any(r.retried and (r.recipe.model, r.precision) == (model, precision) for r in self._open.values()):
            return True
        backoff = self._retries[model, precision, why]
        if backoff.resting:
            return False
        backoff.fail()
        return True

    def _retry(self, request: RequestState, precision: str) -> None:
        """Draw a request again in another precision, after those that have begun in this one."""
        request.retried = True
        self._scheduler.preempt(request)
        request.restart("" if precision == self._default_precision(request.recipe.model) else precision)

    def _set_default_precision(self, model: str, precision: str) -> None:
        """Draw what has not begun in a precision from now on; what has begun ends in its own."""
        before = self._default_precision(model)
        if precision == before:
            return
        self._models.set_default_precision(model, precision)
        for other in self._open.values():
            if other.recipe.model != model:
                continue
            if other.precision == precision:
                other.precision = ""
            elif not other.precision and other.denoise is not None:
                other.precision = before

    def _default_precision(self, model: str) -> str:
        return self._models.precision(BatchKey(model, 0, 0))

    def _deliver(self, request: RequestState, image: DecodedImage) -> None:
        ticket, recipe, seconds = request.ticket, request.recipe, request.seconds
        height, width, _ = image.pixels.shape
        revision = self._models.revision(recipe.model)
        checkpoint = self._models.checkpoint_hash(recipe.model)
        setup = with_extras(self._models.setup(recipe.model), image.extras)
        notes: tuple[str, ...] = (PROMPT_CUT,) if image.prompt_cut else ()
        notes += (MASK_ZOOMED,) if image.zoomed else ()
        notes += (SAFER,) if request.retried and request.flat is None else ()

        def encoded(data: bytes | Exception) -> None:
            if isinstance(data, Exception):
                self._outputs.on_failure(ticket, EngineError(f"The picture could not be encoded: {data!r}."))
                return
            made = Image(
                recipe.id,
                data,
                width=width,
                height=height,
                seconds=seconds,
                precision=image.precision,
                revision=revision,
                notes=notes,
                device=self._device_kind,
                setup=setup,
                loras=image.loras,
                checkpoint=checkpoint,
            )
            self._outputs.on_image(ticket, made)

        self._close(ticket)
        with about([recipe.log_name]):
            log.debug("The picture was drawn in %.2f s", seconds)
        self._encoder.submit(image.pixels, encoded)

    def _fail(self, request: RequestState, error: EngineError) -> None:
        with about([request.recipe.log_name]):
            log.debug("The picture failed: %s", error.code)
        self._close(request.ticket)
        self._outputs.on_failure(request.ticket, error)

    def _close(self, ticket: int) -> None:
        self._open.pop(ticket).close()
        self._scheduler.remove(ticket)
