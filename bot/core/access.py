"""Who may come in: a platform's rule, and those who have asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

FEW = "5/day"
"""The small quota that an owner's button gives."""


class AccessMode(StrEnum):
    """Who may draw on a platform: anybody; anybody whom an owner has allowed, who is asked at the first request; or
    those alone whom an owner has allowed, who is not asked.
    """

    OPEN = "open"
    APPROVE = "approve"
    LIST = "list"


def guarded(rules: Mapping[str, AccessMode]) -> tuple[str, ...]:
    """Return the platforms on which not everybody may draw."""
    return tuple(platform for platform, rule in rules.items() if rule is not AccessMode.OPEN)


class SubjectKind(StrEnum):
    """Who is let in: a server or group with all its members, or a person in a chat of their own."""

    PLACE = "place"
    PERSON = "person"


class AccessDecision(StrEnum):
    """What an owner has answered so far."""

    ASKED = "asked"
    ALLOWED = "allowed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Newcomer:
    """One row for whoever came, however often they ask.

    Attributes:
        id: Its number, by which owners answer.
        platform: As in Actor.
        kind: See Guest.
        subject: The guild's id, or the person's user id.
        name: What the platform calls them; data, never markup.
        verdict: See Verdict.
        asked_at: Unix seconds; of the last time that they began to wait.
        told_at: When owners were told; None when they were not.
        decided_by: Who answered last, ``platform:user id`` or ``operator``.
    """

    id: int
    platform: str
    kind: SubjectKind
    subject: str
    name: str
    verdict: AccessDecision
    asked_at: float
    told_at: float | None = None
    decided_by: str = ""


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """A newcomer with what they want.

    Attributes:
        newcomer: Who.
        asker: Name of the person whose request is the first that waits; empty when none does.
        prompt: That request's prompt; empty where it is private.
        waiting: How many requests wait.
    """

    newcomer: Newcomer
    asker: str = ""
    prompt: str = ""
    waiting: int = 0
