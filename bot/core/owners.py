"""Who runs this Easel, as it is known now: named in the settings, by a platform itself, or by a claim."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass


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
