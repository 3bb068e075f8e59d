"""Results that Studio returns to adapters."""

from __future__ import annotations

from dataclasses import dataclass

from bot.core.cards import Card
from bot.core.pictures import PictureFile


@dataclass(frozen=True, slots=True)
class ShownJob:
    """An admitted job and its current card."""

    job_id: int
    card: Card


@dataclass(frozen=True, slots=True)
class ButtonResult:
    """The result of a button: a new job, a card, a sentence for the presser, or files."""

    new: ShownJob | None = None
    card: Card | None = None
    notice: str = ""
    files: tuple[PictureFile, ...] = ()
