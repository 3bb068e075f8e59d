"""What a button may ask for, and the short text that stands behind it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

MAX_BYTES = 64
"""Telegram's limit for ``callback_data``, the smallest of all platforms."""

_PATTERN = re.compile(r"easel:([a-z]{1,16}):(\d{1,18})(?::(\d{1,3}))?", re.ASCII)


class Action(StrEnum):
    """The verbs of buttons. Those that no button carries yet answer with a clear sentence.

    ALLOW, ALLOW_FEW and REFUSE answer a newcomer: the number in their button is the newcomer's, not a job's.
    """

    REROLL = "reroll"
    SEED = "seed"
    VARY = "vary"
    UPSCALE = "upscale"
    EDIT = "edit"
    USE = "use"
    ORIGINAL = "original"
    FAVOURITE = "favourite"
    DELETE = "delete"
    REPORT = "report"
    CANCEL = "cancel"
    PAGE = "page"
    HIDE = "hide"
    ALLOW = "allow"
    ALLOW_FEW = "allowfew"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class ButtonPress:
    """An action on a job, or on one of its pictures (0-based index). PAGE has the number of a stored search there."""

    action: Action
    job_id: int
    index: int | None = None

    def pack(self) -> str:
        """Return ``easel:<action>:<job id>[:<index>]``; raises ValueError when it is over 64 bytes."""
        text = f"easel:{self.action}:{self.job_id}" + ("" if self.index is None else f":{self.index}")
        if len(text.encode()) > MAX_BYTES:
            raise ValueError(f"button text of {len(text.encode())} bytes; {MAX_BYTES} are allowed")
        return text

    @classmethod
    def unpack(cls, text: str) -> ButtonPress | None:
        """Read a button's text; None when it is not one of ours. What it may do is decided elsewhere."""
        found = _PATTERN.fullmatch(text)
        if found is None or found[1] not in set(Action):
            return None
        return cls(Action(found[1]), int(found[2]), None if found[3] is None else int(found[3]))
