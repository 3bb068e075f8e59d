"""Draws a batch: each row by its own seed, each with its own end, and a bad one takes none of the others with it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from engine.contract import BadRecipe, EngineError, Image, OutOfMemory
from engine.diffusion.device import release
from engine.diffusion.encode import Encoder
from engine.diffusion.families.base import Family, Plan
from engine.diffusion.prompts import Prompts
from engine.diffusion.rows import Row, Sink

log = logging.getLogger(__name__)


class Painter:
    """Draws with one loaded model.

    Args:
        family: The model.
        device: Where it draws.
        precision: What to name when its numbers overflow.
        encoder: Turns pixels into files; owned by the caller.
    """

    def __init__(self, family: Family, device: torch.device, precision: str, encoder: Encoder) -> None:
        self._family = family
        self._device = device
        self._precision = precision
        self._encoder = encoder
        self._prompts = Prompts(family)

    def paint(self, rows: Sequence[Row], sink: Sink) -> None:
        """Draw rows of one size, steps and guidance; each that is not dropped ends in the sink, once.

        Raises:
            torch.AcceleratorError: The device is lost to this process, which must end.
        """
        wanted = [row for row in rows if sink.wanted(row.ticket)]
        if not wanted:
            return
        try:
            self._together(wanted, sink)
            return
        except torch.AcceleratorError:
            raise
        except Exception as e:  # noqa: BLE001  # whatever a pipeline raises ends a recipe, not the process
            log.warning("A batch of %d failed: %r", len(wanted), e)
            error = _meaning(e)
        # Outside of the except block, which keeps the failed batch's tensors alive.
        release(self._device)
        if len(wanted) == 1:
            sink.failed(wanted[0].ticket, error)
            return
        for row in wanted:
            self.paint([row], sink)

    def _together(self, rows: Sequence[Row], sink: Sink) -> None:
        began = stepped_at = time.monotonic()
        first = rows[0].recipe
        guided = self._family.guided(first.guidance)
        # Honour.WITH_GUIDANCE: a negative prompt counts with guidance above 1.
        avoid = [row.recipe.negative if first.guidance > 1 else "" for row in rows] if guided else []
        plan = Plan(
            prompts=[self._prompts.embed(row.recipe.prompt) for row in rows],
            negatives=[self._prompts.embed(text) for text in avoid],
            seeds=[row.recipe.seed for row in rows],
            width=first.width,
            height=first.height,
            steps=first.steps,
            guidance=first.guidance,
        )

        def after_step(step: int) -> list[int]:
            nonlocal stepped_at
            now = time.monotonic()
            going = [i for i, row in enumerate(rows) if sink.wanted(row.ticket)]
            if going:
                sink.stepped(tuple(rows[i].ticket for i in going), step, first.steps, now - stepped_at)
            stepped_at = now
            return going

        drawn = self._family.denoise(plan, after_step)
        each = (time.monotonic() - began) / max(1, len(drawn))
        for i, latents in drawn.items():
            if not sink.wanted(rows[i].ticket):
                continue
            decoding = time.monotonic()
            pixels = self._family.decode(latents)
            if np.isfinite(pixels).all():
                self._hand_over(rows[i], pixels, each + time.monotonic() - decoding, sink)
            else:
                sink.failed(rows[i].ticket, EngineError(self._overflow()))

    def _hand_over(self, row: Row, pixels: NDArray[np.float32], seconds: float, sink: Sink) -> None:
        rounded = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
        height, width, _ = rounded.shape

        def then(encoded: bytes | Exception) -> None:
            if isinstance(encoded, bytes):
                sink.drawn(row.ticket, Image(row.recipe.id, encoded, width, height, seconds))
            else:
                sink.failed(row.ticket, EngineError(f"The picture could not be encoded: {encoded!r}."))

        self._encoder.put(rounded, then)

    def _overflow(self) -> str:
        advice = "; set EASEL_PRECISION to bf16 or fp32" if self._precision == "fp16" else ""
        return f"The numbers of this picture overflowed in {self._precision}{advice}."


def _meaning(error: Exception) -> EngineError:
    """Return what an exception of a pipeline means for the recipe."""
    if isinstance(error, EngineError):
        return error
    text = (str(error).strip().splitlines() or [""])[0][:300]
    # The CPU's allocator has no exception class of its own.
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
        return OutOfMemory("The picture does not fit the device's memory: ask for a smaller one.")
    return BadRecipe(f"The pipeline could not draw this recipe ({type(error).__name__}: {text}).")
