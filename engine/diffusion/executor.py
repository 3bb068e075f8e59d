"""Draws whatever is open, a step at a time; each picture comes to its own end and a bad one takes none with it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from weakref import WeakSet

import numpy as np
import torch
from numpy.typing import NDArray

from engine import catalogue
from engine.contract import PROMPT_CUT, SAFER, EngineError, Image, OutOfMemory, Overflow
from engine.diffusion import init_image
from engine.diffusion.batch_tuner import BatchTuner
from engine.diffusion.device import Busy, release
from engine.diffusion.image_encoder import JPEG, PNG, ImageEncoder, jpeg
from engine.diffusion.memory import apply
from engine.diffusion.postprocess import kind_of, meaning, rounded
from engine.diffusion.prompts import Prompts
from engine.diffusion.ration import Ration
from engine.diffusion.request_state import Finished, Models, Open
from engine.diffusion.rows import OutputHandler, Row, StepProgress
from engine.diffusion.step_scheduler import BatchKey, StepScheduler, Turn
from engine.families.base import Family
from engine.families.denoise_state import DenoiseState, Start

PREVIEW_SECONDS = 0.25
"""At most four previews a second of each picture that somebody looks at."""

START_SECONDS = 0.25
"""So long, or for one tile, others wait at each of their steps for each picture that is enlarged."""

FIRST_PAUSE = 600.0
"""Seconds until a model is loaded in a safer precision for the same reason again, where the last time did not settle it."""

LONGEST_PAUSE = 6 * 3600.0
"""The longest such pause in seconds; each time doubles it."""

log = logging.getLogger(__name__)


class StepExecutor:
    """Draws on the thread that calls ``turn``; files are made on the encoder's.

    Args:
        models: Keeps the models.
        sink: Hears what comes of the rows.
        encoder: StepScheduler pixels into files; owned by the caller.
        device: Whose memory is given back after a failure.
        busy: Told when the device works.
        upscaler: Enlarges pictures to start from.
        clock: Seconds by a clock that never goes back.

    ``setup`` of its pictures is what had a part in them beside the model (see ``Open.more``).
    """

    def __init__(
        self,
        models: Models,
        sink: OutputHandler,
        encoder: ImageEncoder,
        device: torch.device,
        busy: Busy | None = None,
        *,
        upscaler: init_image.Enlarges | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models = models
        self._sink = sink
        self._encoder = encoder
        self._device = device
        self._busy = busy or Busy()
        self._upscaler = upscaler
        self._open: dict[int, Open] = {}
        self._caps: dict[BatchKey, int] = {}
        self._tiled: WeakSet[Family] = WeakSet()
        self._gain = BatchTuner()
        self._ration = Ration(FIRST_PAUSE, LONGEST_PAUSE, clock)
        self._turns = StepScheduler(self._most)
        self.prompts = Prompts()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, rows: Iterable[Row]) -> None:
        """Take rows on; each that is not dropped ends in the sink, once."""
        for row in rows:
            turn = Turn(row.ticket, row.lane, kind_of(row.recipe), row.recipe.steps)
            self._open[row.ticket] = Open(row, turn)
            self._turns.add(turn)

    def turn(self) -> None:
        """Take one step with those whose turn it is, and end those that it finishes.

        Raises:
            torch.AcceleratorError: The device is lost to this process, which must end.
        """
        for ticket in [t for t in self._open if not self._sink.is_active(t)]:
            self._close(ticket)
        self._turns.loaded = self._models.loaded
        team = [self._open[t.ticket] for t in self._turns.next()]
        if not team:
            return
        kind = team[0].turn.kind
        try:
            family = self._models.family(kind)
        except EngineError as error:
            self._unavailable(kind, error)
            return
        ready = [one for one in team if one.drawing is not None or self._begin(one, family)]
        if ready and self._step(ready, family):
            for one in ready:
                if one.drawing is not None and one.drawing.over:
                    self._finish(one, family, one.drawing)

    def _unavailable(self, kind: BatchKey, error: EngineError) -> None:
        """A kind can't be drawn: it fails, or, where a precision of its own is all that lacks, goes on without that."""
        # Too large is this size; what can't be loaded can't be for anybody.
        whole = not isinstance(error, OutOfMemory)
        for one in list(self._open.values()):
            theirs = one.turn.kind
            same = theirs.model == kind.model and kind.precision in ("", theirs.precision)
            if theirs != kind and not (whole and same):
                continue
            if not theirs.precision:
                self._fail(one, error)
            elif one.flat is not None:
                self._hand_over(one, one.flat)
            elif one.again:
                why = f"The numbers of this picture overflowed, and {theirs.precision} can't be had: {error}"
                self._fail(one, Overflow(why))
            else:
                self._restart(one, "")

    def _most(self, kind: BatchKey) -> int:
        worth = catalogue.batch_of(kind.pixels)
        return max(1, min(self._caps.get(kind, worth), self._gain.most(kind.pixels, worth), self._models.most(kind)))

    def _begin(self, one: Open, family: Family) -> bool:
        """Make it ready for its first step; False when it takes another turn, or can't be done, which ends it."""
        one.starting = one.starting or init_image.Starting(one.recipe, self._upscaler)
        drawing = None
        try:
            with self._busy.at_work() as took:
                if one.starting.go_on(START_SECONDS):
                    drawing = self._drawing(one, family, one.starting.start)
        except torch.AcceleratorError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever a pipeline raises ends a recipe, not the process
            log.warning("A recipe can't be begun: %r", error)
            self._fail(one, meaning(error))
            return False
        one.seconds += took.seconds
        if drawing is None:
            return False
        one.starting, one.drawing = None, drawing
        one.turn.begun = True
        one.turn.steps = drawing.steps
        one.turn.weight = 1 if drawing.negative is None else 2
        return True

    def _drawing(self, one: Open, family: Family, start: Start | None) -> DenoiseState:
        """Encode its prompt and make its noise."""
        recipe = one.recipe
        name = f"{recipe.model} {self._models.precision(one.turn.kind)}"
        prompt = self.prompts.embed(family, name, recipe.prompt)
        negative = None
        if family.guided(recipe.guidance):
            # NegativePromptSupport.WITH_GUIDANCE: a negative prompt counts with guidance above 1.
            negative = self.prompts.embed(family, name, recipe.negative if recipe.guidance > 1 else "")
        return family.begin(recipe, prompt, negative, start)

    def _step(self, team: Sequence[Open], family: Family) -> bool:
        """Take one step; False when it could not be taken, and the rows are to be tried again or have ended."""
        drawings = [one.drawing for one in team if one.drawing is not None]
        for one, drawing in zip(team, drawings, strict=True):
            drawing.looked = self._sink.wants_preview(one.row.ticket)
        try:
            with self._busy.at_work() as took:
                family.step(drawings)
        except torch.AcceleratorError:
            raise
        except Exception as e:  # noqa: BLE001  # see above
            log.warning("A step of %d failed: %r", len(team), e)
            error = meaning(e)
        else:
            self._stepped(team, family, took.seconds)
            return True
        # Outside of the except block, which keeps the failed step's tensors alive.
        release(self._device)
        self._broken(team, error)
        return False

    def _stepped(self, team: Sequence[Open], family: Family, seconds: float) -> None:
        self._gain.saw(team[0].turn.kind.pixels, len(team), seconds)
        progress = []
        for one in team:
            drawing = one.drawing
            assert drawing is not None
            one.seconds += seconds / len(team)
            one.turn.steps = drawing.steps - drawing.done
            progress.append(StepProgress(one.row.ticket, drawing.done, drawing.steps))
        self._sink.on_step(progress, seconds)
        now = time.monotonic()
        for one in team:
            drawing = one.drawing
            if drawing is not None and drawing.looked and not drawing.over and now - one.seen >= PREVIEW_SECONDS:
                one.seen = now
                self._preview(one, family, drawing)

    def _preview(self, one: Open, family: Family, drawing: DenoiseState) -> None:
        ticket = one.row.ticket

        def then(encoded: bytes | Exception) -> None:
            if isinstance(encoded, bytes):
                self._sink.on_preview(ticket, encoded, JPEG)

        try:
            with self._busy.at_work():
                pixels = family.preview(drawing)
        except torch.AcceleratorError:
            raise
        except Exception as e:  # noqa: BLE001  # a picture without previews is a picture
            log.warning("A preview failed: %r", e)
            return
        self._encoder.put(pixels, then, jpeg)

    def _broken(self, team: Sequence[Open], error: EngineError) -> None:
        """A step failed: for want of memory, half as many go on; else each is tried alone, and alone it fails."""
        if len(team) == 1:
            self._fail(team[0], error)
            return
        if isinstance(error, OutOfMemory):
            kind = team[0].turn.kind
            self._caps[kind] = len(team) // 2
            log.warning("%d pictures of %dx%d are too many at once", len(team), kind.width, kind.height)
            return
        for one in team:
            self._restart(one, one.turn.kind.precision)
            one.turn.alone = True

    def _finish(self, one: Open, family: Family, drawing: DenoiseState) -> None:
        """Decode a picture, look at it, and hand it over or draw it again."""
        try:
            with self._busy.at_work() as took:
                finite = bool(torch.isfinite(drawing.latents).all())
                pixels = rounded(self._decode(family, one, drawing)) if finite else None
        except torch.AcceleratorError:
            raise
        except Exception as e:  # noqa: BLE001  # see above
            log.warning("A picture can't be decoded: %r", e)
            error = meaning(e)
        else:
            one.seconds += took.seconds
            if pixels is None:
                self._overflowed(one)
            else:
                self._look(one, drawing, pixels)
            return
        release(self._device)
        self._fail(one, error)

    def _decode(self, family: Family, one: Open, drawing: DenoiseState) -> NDArray[np.float32]:
        """Decode; for want of memory in tiles, from then on."""
        try:
            return family.finish(drawing)
        except Exception as e:
            if family in self._tiled or not isinstance(meaning(e), OutOfMemory):
                raise
            log.warning("%dx%d is decoded in tiles from now on: %r", one.recipe.width, one.recipe.height, e)
            self._tiled.add(family)
        release(self._device)
        apply.tile(family.pipe, True)
        return family.finish(drawing)

    def _overflowed(self, one: Open) -> None:
        """Its numbers are not finite: it alone is drawn again in a safer precision, once."""
        now, safer = self._models.precision(one.turn.kind), self._models.safer(one.turn.kind)
        if one.flat is not None:
            self._hand_over(one, one.flat)
        elif safer is not None and not one.again and self._may_try(one, safer, "overflow"):
            log.warning("%s overflows in %s: a picture is drawn again in %s", one.recipe.model, now, safer)
            self._try(one, safer)
        else:
            self._fail(one, Overflow(f"The numbers of this picture overflowed in {now}; try another prompt or seed."))

    def _look(self, one: Open, drawing: DenoiseState, pixels: NDArray[np.uint8]) -> None:
        """Hand a picture over; one of a single colour is drawn once more first, where a safer precision may help."""
        kind = one.turn.kind
        found = Finished(pixels, self._models.precision(kind), drawing.prompt.cut, one.more)
        flat = bool((pixels == pixels[0, 0]).all())
        if one.again:
            if one.flat is None or not flat:
                # It was the numbers and not the prompt.
                self._settle(kind.model, found.precision)
        elif flat and not init_image.is_plain(drawing.start):
            safer = self._models.safer(kind)
            if safer is not None and self._may_try(one, safer, "flat"):
                one.flat = found
                self._try(one, safer)
                return
        self._hand_over(one, found)

    def _may_try(self, one: Open, precision: str, why: str) -> bool:
        """Whether a row may be drawn in a precision that the model must be loaded in first, which everybody waits for."""
        model = one.turn.kind.model
        if precision == self._usual(model):
            return True
        waiting = (o.turn.kind for o in self._open.values() if o.again)
        if any((k.model, k.precision) == (model, precision) for k in waiting):
            return True
        return self._ration.take((model, precision, why))

    def _try(self, one: Open, precision: str) -> None:
        """Draw a row again in another precision, once those that have begun in this one are done."""
        one.again = True
        self._turns.set_aside(one.turn)
        self._restart(one, "" if precision == self._usual(one.turn.kind.model) else precision)

    def _settle(self, model: str, precision: str) -> None:
        """Draw all that has not begun in a precision from now on; what has begun is drawn to its end in its own."""
        before = self._usual(model)
        if precision == before:
            return
        self._models.settle(model, precision)
        for other in self._open.values():
            kind = other.turn.kind
            if kind.model == model and kind.precision == precision:
                other.turn.kind = replace(kind, precision="")
            elif kind.model == model and not kind.precision and other.drawing is not None:
                other.turn.kind = replace(kind, precision=before)

    def _usual(self, model: str) -> str:
        return self._models.precision(BatchKey(model, 0, 0))

    def _hand_over(self, one: Open, found: Finished) -> None:
        row, seconds, pixels = one.row, one.seconds, found.pixels
        height, width, _ = pixels.shape
        revision = self._models.revision(row.recipe.model)
        notes: tuple[str, ...] = (PROMPT_CUT,) if found.cut else ()
        notes += (SAFER,) if one.again and one.flat is None else ()

        def then(encoded: bytes | Exception) -> None:
            if isinstance(encoded, bytes):
                how = (seconds, PNG, found.precision, revision, notes)
                self._sink.on_image(row.ticket, Image(row.recipe.id, encoded, width, height, *how, setup=found.more))
            else:
                self._sink.on_failure(row.ticket, EngineError(f"The picture could not be encoded: {encoded!r}."))

        self._close(row.ticket)
        self._encoder.put(pixels, then)

    def _restart(self, one: Open, precision: str) -> None:
        """Let a row begin anew in a precision; empty: its model's usual one."""
        one.starting = one.drawing = None
        one.turn.steps = one.recipe.steps
        one.turn.begun = False
        one.turn.kind = replace(one.turn.kind, precision=precision)

    def _fail(self, one: Open, error: EngineError) -> None:
        self._close(one.row.ticket)
        self._sink.on_failure(one.row.ticket, error)

    def _close(self, ticket: int) -> None:
        del self._open[ticket]
        self._turns.remove(ticket)
