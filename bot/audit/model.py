"""A line of the log of changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AuditLine:
    """Who changed what, from what to what.

    Attributes:
        number: What it is undone by.
        at: Unix seconds.
        who: The name and account, or ``operator``; data.
        action: The verb, such as ``quota set``; with ``undo`` before it where it took another change back.
        kind: Of what sort; empty for changes that can't be undone.
        subject: What exactly, as it is stored.
        whom: The person whom it is about; data, empty for none.
        place: The place's name; data, empty for the whole service.
        before: The value as it is stored; None for nothing. Text where there is no kind.
        after: Likewise.
        undone: It was taken back.
    """

    number: int
    at: float
    who: str
    action: str
    kind: str
    subject: Mapping[str, object]
    whom: str
    place: str
    before: Mapping[str, object] | str | None
    after: Mapping[str, object] | str | None
    undone: bool
