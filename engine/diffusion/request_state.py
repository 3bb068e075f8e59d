"""What the painter works with: a row that has not ended, and what it asks of whoever keeps the models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.contract import Recipe
from engine.diffusion.init_image import Starting
from engine.diffusion.rows import Row
from engine.diffusion.step_scheduler import BatchKey, Turn
from engine.families.base import Family
from engine.families.denoise_state import DenoiseState


class Models(Protocol):
    """What the painter asks of whoever keeps the models."""

    @property
    def loaded(self) -> str:
        """Name of the model that is on the device; empty for none."""

    def family(self, kind: BatchKey) -> Family:
        """Return the model of a kind, on the device and fit for this size. Raises EngineError."""

    def precision(self, kind: BatchKey) -> str:
        """In which precision this kind is drawn."""

    def revision(self, model: str) -> str:
        """Commit of the model's files; empty when they have none."""

    def most(self, kind: BatchKey) -> int:
        """How many pictures of this kind fit the device together; at least 1."""

    def safer(self, kind: BatchKey) -> str | None:
        """The next precision in which numbers overflow later; None when there is none."""

    def settle(self, model: str, precision: str) -> None:
        """From now on this precision is the model's usual one."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A picture as it was drawn.

    Attributes:
        pixels: (height, width, 3).
        precision: Number format that it was drawn in.
        cut: The end of its prompt was left out.
        more: See ``Open.more``.
    """

    pixels: NDArray[np.uint8]
    precision: str
    cut: bool
    more: str


@dataclass(slots=True, eq=False)
class Open:
    """A row that has not ended.

    Attributes:
        row: Which.
        turn: Its place among the others.
        starting: The picture to start from while it is read; None before and after.
        drawing: How far it is; None before its first step.
        seconds: What the device took for it.
        again: It is drawn a second time, in a safer precision, since its first picture was ``flat`` or overflowed.
        flat: Its first picture, where that was of one colour.
        seen: When its last preview was made, by the monotonic clock.
    """

    row: Row
    turn: Turn
    starting: Starting | None = None
    drawing: DenoiseState | None = None
    seconds: float = 0.0
    again: bool = False
    flat: Finished | None = None
    seen: float = 0.0

    @property
    def recipe(self) -> Recipe:
        """What it shall be."""
        return self.row.recipe

    @property
    def more(self) -> str:
        """What had a part in it beside the model: the digest of an upscaler, how steps were guessed; mostly empty."""
        if self.drawing is None:
            return ""
        start, cached = self.drawing.start, self.drawing.cached
        by = "" if start is None else start.upscaler
        return " ".join(filter(None, (by, f"step cache {cached}" if cached else "")))
