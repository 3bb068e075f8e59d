"""Quota rules, what is left under them, and the ledger's words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Window(StrEnum):
    """Rolling windows; ``seconds`` is their length."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"

    @property
    def seconds(self) -> int:
        """Length in seconds."""
        return {"hour": 3600, "day": 86400, "week": 604800}[self.value]


@dataclass(frozen=True, slots=True)
class Limit:
    """So many pictures in a rolling window; ``pictures`` None is unlimited."""

    pictures: int | None
    window: Window = Window.DAY


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom a rule is for; None means any. The more that is given, the more specific it is."""

    platform: str | None = None
    place: str | None = None
    role: str | None = None
    person: str | None = None
    channel: str | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """A stored quota rule. ``by_owner`` rules are ceilings; a place's own rules can only narrow them."""

    id: int
    scope: Scope
    limit: Limit
    by_owner: bool


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left under the rule that binds now.

    Attributes:
        limit: The rule's limit.
        used: Pictures reserved or charged in its window.
        left: Pictures that may still be asked for; None is unlimited.
        returns_at: Unix seconds when ``returns`` more pictures become free; None when nothing is used.
        returns: See returns_at.
        in_place: The rule counts what was drawn in this place alone (a place's own rule).
    """

    limit: Limit
    used: int
    left: int | None
    returns_at: float | None = None
    returns: int = 0
    in_place: bool = False
