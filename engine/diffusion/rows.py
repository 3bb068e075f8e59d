"""What the drawing side is given and what it tells: rows to draw, and the sink that hears how they come along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.contract import EngineError, Image, Lane, Recipe


@dataclass(frozen=True, slots=True)
class Row:
    """A recipe, the ticket by which the other side knows it, and how urgent it is."""

    ticket: int
    recipe: Recipe
    lane: Lane = Lane.INTERACTIVE


@dataclass(frozen=True, slots=True)
class StepProgress:
    """Step ``step`` (1-based) of ``steps`` is done for this row."""

    ticket: int
    step: int
    steps: int


class OutputHandler(Protocol):
    """Hears what comes of the rows. Its methods are called from the drawing thread and from the encoding one."""

    def is_active(self, ticket: int, /) -> bool:
        """Whether anybody still waits for this row."""

    def wants_preview(self, ticket: int, /) -> bool:
        """Whether anybody looks at how it comes along."""

    def on_step(self, progress: Sequence[StepProgress], seconds: float, /) -> None:
        """These rows have taken a step together; it took so many seconds."""

    def on_preview(self, ticket: int, data: bytes, mime: str, /) -> None:
        """How this row looks so far."""

    def on_image(self, ticket: int, image: Image, /) -> None:
        """This row ended in a picture."""

    def on_failure(self, ticket: int, error: EngineError, /) -> None:
        """This row ended without one."""
