"""How strict a place is about words and pictures."""

from __future__ import annotations

from enum import StrEnum

HIDDEN = "note.words.spoiler"
"""Note of a request whose words made its pictures hidden ones (``Strictness.SPOILER``)."""

WARNED = "note.words.warn"
"""Note of a request whose words were only warned of (``Strictness.WARN``)."""

SPOILER = "spoiler"
"""Flag of a picture that is shown behind a cover, until somebody wants to see it."""


class Strictness(StrEnum):
    """What follows when the word list finds something, or the classifier finds a picture unsafe.

    OFF: nothing, and pictures are not looked at. WARN: it is drawn, with a note; an unsafe picture is hidden. REFUSE: it is
    not drawn; an unsafe picture is not kept. SPOILER: it is drawn and hidden.
    """

    OFF = "off"
    WARN = "warn"
    REFUSE = "refuse"
    SPOILER = "spoiler"


def strictness_of(value: object) -> Strictness | None:
    """Read the option ``words`` of a place; None where it is not set, or says nothing that this version knows."""
    return Strictness(value) if isinstance(value, str) and value in set(Strictness) else None
