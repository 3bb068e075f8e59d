"""The neutral answer: what a surface shows, already in the person's language, in no platform's markup."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bot.core.actions import ButtonPress
from bot.core.pictures import PictureFile


class Tone(StrEnum):
    """What the card is about; surfaces choose a colour or a sign by it."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    PROBLEM = "problem"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Button:
    """A button with its label in the person's language."""

    label: str
    press: ButtonPress
    danger: bool = False


@dataclass(frozen=True, slots=True)
class Fact:
    """One labelled value under a picture (Seed: 7). Both are data, never markup."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class PendingImages:
    """The pictures that are not there yet: how many, their sides in pixels, and of which a preview can be looked at.

    Attributes:
        count: How many.
        width: Pixels.
        height: Pixels.
        enlarge: Whole factor by which its model's pictures are shown enlarged.
        previews: For each index that has a preview, a number that changes with it; only for those who look.
    """

    count: int
    width: int
    height: int
    enlarge: int = 1
    previews: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Card:
    """One message, whatever shows it. All text is data: surfaces escape it and let it mention nobody.

    Attributes:
        tone: See Tone.
        status: One sentence that says how things stand.
        prompt: The prompt as its author wrote it; empty where there is none.
        asker: Name of the person who asked; empty where there is none.
        job_id: The job behind it, if there is one.
        progress: 0 to 1 while drawing, else None.
        notes: Further sentences, each on a line of its own.
        facts: Labelled values, in order.
        pictures: What to show, in order.
        buttons: Rows of buttons.
        private: For the asker's eyes alone.
        final: Nothing more will change by itself.
        coming: What is still to come, for surfaces that keep a place for it; None once nothing is.
        locale: The catalogue that its sentences are from, for what a surface has to add.
    """

    tone: Tone
    status: str
    prompt: str = ""
    asker: str = ""
    job_id: int | None = None
    progress: float | None = None
    notes: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    pictures: tuple[PictureFile, ...] = ()
    buttons: tuple[tuple[Button, ...], ...] = ()
    private: bool = False
    final: bool = False
    coming: PendingImages | None = None
    locale: str = "en"
