"""How often somebody may have original files sent, and which of them they have just been sent."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

BURST = 6
"""Most presses for original files in a burst."""

EACH = 20.0
"""Seconds until one more passes."""

AT_ONCE = 2.0
"""Seconds within which presses for the same files are one press."""

_PEOPLE = 1024
"""People who are remembered before those who may press freely again are forgotten."""


@dataclass(slots=True)
class _Person:
    free_at: float = 0.0
    """When every press that has passed is paid for, by the monotonic clock."""
    last: dict[Hashable, float] = field(default_factory=dict)


class DownloadLimits:
    """A token bucket for each person; times are seconds of a monotonic clock. In memory: a restart forgives."""

    def __init__(self) -> None:
        self._people: dict[Hashable, _Person] = {}

    def is_repeated(self, person: Hashable, what: Hashable, now: float) -> bool:
        """Whether this person was let have just this a moment ago."""
        known = self._people.get(person)
        return known is not None and now - known.last.get(what, now - AT_ONCE) < AT_ONCE

    def take(self, person: Hashable, what: Hashable, now: float) -> float:
        """Let somebody have files; returns 0, or how many seconds they have to wait first, and then nothing is taken."""
        if len(self._people) > _PEOPLE:
            self._people = {key: one for key, one in self._people.items() if one.free_at > now}
        known = self._people.setdefault(person, _Person())
        wait = known.free_at - now - (BURST - 1) * EACH
        if wait > 0:
            return wait
        known.free_at = max(known.free_at, now) + EACH
        known.last = {key: at for key, at in known.last.items() if now - at < AT_ONCE} | {what: now}
        return 0.0
