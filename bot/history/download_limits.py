"""Rate limit for original files: a token bucket per person, and a window against double presses."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

BURST = 6
"""Presses for original files that may come in a burst."""

REFILL_SECONDS = 20.0
"""Seconds until another press is allowed."""

REPEAT_SECONDS = 2.0
"""Presses for the same files within this many seconds count as one."""

_MAX_PEOPLE = 1024
"""Above this number of people, those with a full bucket are dropped."""


@dataclass(slots=True)
class _Person:
    free_at: float = 0.0
    """When the bucket is full again, by the monotonic clock."""
    last: dict[Hashable, float] = field(default_factory=dict)


class DownloadLimits:
    """A token bucket per person; times are seconds of a monotonic clock. It is in memory only: a restart resets it."""

    def __init__(self) -> None:
        self._people: dict[Hashable, _Person] = {}

    def is_repeated(self, person: Hashable, what: Hashable, now: float) -> bool:
        """Whether the person got the same files a moment ago."""
        bucket = self._people.get(person)
        return bucket is not None and now - bucket.last.get(what, now - REPEAT_SECONDS) < REPEAT_SECONDS

    def take(self, person: Hashable, what: Hashable, now: float) -> float:
        """Take a token; return 0, or the seconds to wait if there is none."""
        if len(self._people) > _MAX_PEOPLE:
            self._people = {key: one for key, one in self._people.items() if one.free_at > now}
        bucket = self._people.setdefault(person, _Person())
        wait = bucket.free_at - now - (BURST - 1) * REFILL_SECONDS
        if wait > 0:
            return wait
        bucket.free_at = max(bucket.free_at, now) + REFILL_SECONDS
        bucket.last = {key: at for key, at in bucket.last.items() if now - at < REPEAT_SECONDS} | {what: now}
        return 0.0
