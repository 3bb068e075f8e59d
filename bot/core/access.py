"""Who may use this Easel: access modes, newcomers and the live list of owners."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
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


@dataclass(frozen=True, slots=True)
class _Of(Container[str]):
    """The owners on one platform; looks at what is known each time that it is asked."""

    owners: Owners
    platform: str

    def __contains__(self, user_id: object) -> bool:
        return user_id in self.owners.ids(self.platform)


class Owners:
    """Live: whoever was handed ``of(platform)`` sees a claim at once.

    Args:
        named: User ids by platform, as the settings have them. Its keys are the platforms that are on.
    """

    def __init__(self, named: Mapping[str, Iterable[str]] | None = None) -> None:
        self._named = {platform: frozenset(ids) for platform, ids in (named or {}).items()}
        self._told: dict[str, frozenset[str]] = {}
        self._claimed: Mapping[str, frozenset[str]] = {}

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platforms that are on."""
        return tuple(self._named)

    def of(self, platform: str) -> Container[str]:
        """Return the owners' user ids on a platform, now and later."""
        return _Of(self, platform)

    def ids(self, platform: str) -> frozenset[str]:
        """Return the user ids that are known now."""
        nobody: frozenset[str] = frozenset()
        return (
            self._named.get(platform, nobody) | self._told.get(platform, nobody) | self._claimed.get(platform, nobody)
        )

    def everybody(self) -> tuple[tuple[str, str], ...]:
        """Return platform and user id of every owner on the platforms that are on, in a fixed order."""
        return tuple((platform, user_id) for platform in self._named for user_id in sorted(self.ids(platform)))

    def told(self, platform: str, ids: Iterable[str]) -> None:
        """The platform itself says whose the bot is; replaces what it said before."""
        self._told[platform] = frozenset(ids)

    def claimed(self, rows: Iterable[tuple[str, str]]) -> None:
        """Platform and user id of all who have claimed the bot, as the rows have them now."""
        found: dict[str, set[str]] = {}
        for platform, user_id in rows:
            found.setdefault(platform, set()).add(user_id)
        self._claimed = {platform: frozenset(ids) for platform, ids in found.items()}
