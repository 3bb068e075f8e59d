"""Who may use this Easel: access modes, newcomers and the live list of owners."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

FEW = "5/day"
"""The quota that an owner's button "allow a few" sets."""


class AccessMode(StrEnum):
    """Who may draw on a platform.

    OPEN: everybody. APPROVE: people and places that an owner has allowed; owners are asked at the first request. LIST:
    the same, but owners are not asked.
    """

    OPEN = "open"
    APPROVE = "approve"
    LIST = "list"


def guarded(modes: Mapping[str, AccessMode]) -> tuple[str, ...]:
    """Return the platforms that are not open to everybody."""
    return tuple(platform for platform, mode in modes.items() if mode is not AccessMode.OPEN)


class SubjectKind(StrEnum):
    """The kind of newcomer: a server or group with all its members, or a person in direct messages."""

    PLACE = "place"
    PERSON = "person"


class AccessDecision(StrEnum):
    """An owner's answer; ASKED while there is none."""

    ASKED = "asked"
    ALLOWED = "allowed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A person, server or group that needs an owner's permission.

    Attributes:
        id: The number that owners answer by.
        platform: As in Actor.
        kind: See SubjectKind.
        subject: The guild's id, or the person's user id.
        name: What the platform calls them; data, never markup.
        verdict: See AccessDecision.
        asked_at: When they last started to wait, in Unix seconds.
        decided_by: Who answered last, ``platform:user id`` or ``operator``.
    """

    id: int
    platform: str
    kind: SubjectKind
    subject: str
    name: str
    verdict: AccessDecision
    asked_at: float
    decided_by: str = ""


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """A newcomer with their first held request.

    Attributes:
        newcomer: The newcomer.
        asker: Name of the person who made the first held request; empty if there is none.
        prompt: Its prompt; empty if it is private.
        waiting: How many of their requests are held.
    """

    newcomer: Newcomer
    asker: str = ""
    prompt: str = ""
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class _PlatformOwners(Container[str]):
    """A live view of the owners on one platform."""

    owners: Owners
    platform: str

    def __contains__(self, user_id: object) -> bool:
        return user_id in self.owners.ids(self.platform)


class Owners:
    """The live list of owners: a claim counts at once.

    Args:
        named: User ids by platform, from the settings. Its keys are the platforms that are on.
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
        """Return a live view of the owners' user ids on a platform."""
        return _PlatformOwners(self, platform)

    def ids(self, platform: str) -> frozenset[str]:
        """Return the owners' current user ids on a platform."""
        nobody: frozenset[str] = frozenset()
        return (
            self._named.get(platform, nobody) | self._told.get(platform, nobody) | self._claimed.get(platform, nobody)
        )

    def everybody(self) -> tuple[tuple[str, str], ...]:
        """Return platform and user id of every owner on the platforms that are on, in a fixed order."""
        return tuple((platform, user_id) for platform in self._named for user_id in sorted(self.ids(platform)))

    def told(self, platform: str, ids: Iterable[str]) -> None:
        """Set the owners that the platform itself reports; replaces those that it reported before."""
        self._told[platform] = frozenset(ids)

    def claimed(self, rows: Iterable[tuple[str, str]]) -> None:
        """Set the platform and user id of everybody who has claimed the bot."""
        found: dict[str, set[str]] = {}
        for platform, user_id in rows:
            found.setdefault(platform, set()).add(user_id)
        self._claimed = {platform: frozenset(ids) for platform, ids in found.items()}
