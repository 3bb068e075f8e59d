"""Strictness of a place about words and pictures."""

from __future__ import annotations

from enum import StrEnum

HIDDEN = "note.words.spoiler"
"""Note of a request whose pictures are hidden because of its words (``Strictness.SPOILER``)."""

WARNED = "note.words.warn"
"""Note of a request with a warning about its words (``Strictness.WARN``)."""

SPOILER = "spoiler"
"""Flag of a picture that is shown behind a spoiler."""


class Strictness(StrEnum):
    """What happens to a request with listed words, and to a picture that the classifier finds unsafe.

    OFF: nothing, and pictures are not judged. WARN: it is drawn with a note; an unsafe picture is hidden. REFUSE: it is
    refused; an unsafe picture is rejected. SPOILER: it is drawn and hidden.
    """

    OFF = "off"
    WARN = "warn"
    REFUSE = "refuse"
    SPOILER = "spoiler"
