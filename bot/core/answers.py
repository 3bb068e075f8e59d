"""What a use case hands back to the adapter that called it."""

from __future__ import annotations

from dataclasses import dataclass

from bot.core.cards import Card
from bot.core.pictures import PictureFile


@dataclass(frozen=True, slots=True)
class ShownJob:
    """A job that was admitted, and its card as it is now."""

    job_id: int
    card: Card


@dataclass(frozen=True, slots=True)
class ButtonResult:
    """What came of a button: a new job, the same card looking different, a sentence for the presser, or files."""

    new: ShownJob | None = None
    card: Card | None = None
    notice: str = ""
    files: tuple[PictureFile, ...] = ()
