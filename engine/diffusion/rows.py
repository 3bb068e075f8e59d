"""What the drawing side is given and what it tells: rows of a batch, and the sink that hears how they end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from engine.contract import EngineError, Image, Recipe


@dataclass(frozen=True, slots=True)
class Row:
    """A recipe and the ticket by which the other side knows it."""

    ticket: int
    recipe: Recipe


class Sink(Protocol):
    """Hears what comes of the rows. Its methods are called from the drawing thread and from the encoding one."""

    def wanted(self, ticket: int, /) -> bool:
        """Whether anybody still waits for this row."""

    def stepped(self, tickets: tuple[int, ...], step: int, steps: int, seconds: float, /) -> None:
        """Step ``step`` (1-based) of ``steps`` is done for these rows; it took so many seconds."""

    def drawn(self, ticket: int, image: Image, /) -> None:
        """This row ended in a picture."""

    def failed(self, ticket: int, error: EngineError, /) -> None:
        """This row ended without one."""
