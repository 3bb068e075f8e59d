"""Start-time fair queueing among siblings, in virtual seconds of the device. Knows neither jobs nor people.

Goyal, Vin and Cheng, "Start-time Fair Queuing", SIGCOMM 1996: everybody who waits has a start tag, the smallest is next,
and whoever was served moves on by what that cost, divided by their weight. Virtual time is the tag of the one who is
next; who comes (back) starts there at the earliest, so that nobody has saved anything up while they did not ask.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator

_SLACK = 64
"""So many forgotten entries are kept before they are swept out."""

_Entry = tuple[float, int, int]
"""Start tag, running number (who came first is first among equals), sibling."""


class FairQueue:
    """Siblings, by number. Every operation takes O(log n), amortised."""

    def __init__(self) -> None:
        self._now = 0.0
        self._tags: dict[int, float] = {}
        self._waiting: dict[int, _Entry] = {}
        # May hold entries that are out of date: an entry counts while it is the one in _waiting.
        self._heap: list[_Entry] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def __iter__(self) -> Iterator[int]:
        """Everybody who waits, in no order."""
        return iter(self._waiting)

    def wake(self, key: int) -> None:
        """It has work again."""
        self._tags[key] = max(self._now, self._tags.get(key, 0.0))
        self._push(key)

    def sleep(self, key: int) -> None:
        """It has no work any more; what it has used is remembered as long as that could matter."""
        del self._waiting[key]
        if not self._waiting:
            # Nobody competes any more: whoever comes now begins anew.
            self._now = 0.0
            self._tags.clear()
            self._heap.clear()
        elif self._tags[key] <= self._now:
            del self._tags[key]
        elif len(self._tags) > 2 * len(self._waiting) + _SLACK:
            self._tags = {k: tag for k, tag in self._tags.items() if tag > self._now or k in self._waiting}

    def front(self) -> float:
        """The smallest start tag; virtual time when nobody waits."""
        while self._heap and self._waiting.get(self._heap[0][2]) is not self._heap[0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else self._now

    def place(self, key: int) -> tuple[float, int]:
        """Start tag and running number of one that waits: the smaller, the sooner."""
        tag, number, _ = self._waiting[key]
        return tag, number

    def charge(self, key: int, amount: float) -> None:
        """It has used so much (its weight is taken into account already); below 0 it gets something back."""
        if key in self._tags:
            self._tags[key] += amount
            if key in self._waiting:
                self._push(key)

    def pass_on(self) -> None:
        """Somebody is served now: virtual time goes on to the one whose turn it is."""
        self._now = max(self._now, self.front())

    def walk(self) -> Iterator[int]:
        """Everybody who waits, in order of their turns, lazily; nothing may change meanwhile."""
        # The children of heap[i] are heap[2i+1] and heap[2i+2], and none is smaller: a frontier is enough.
        frontier = [(self._heap[0], 0)] if self._heap else []
        while frontier:
            entry, i = heapq.heappop(frontier)
            for child in (2 * i + 1, 2 * i + 2):
                if child < len(self._heap):
                    heapq.heappush(frontier, (self._heap[child], child))
            if self._waiting.get(entry[2]) is entry:
                yield entry[2]

    def _push(self, key: int) -> None:
        entry = self._waiting[key] = (self._tags[key], next(self._numbers), key)
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._waiting) + _SLACK:
            self._heap = list(self._waiting.values())
            heapq.heapify(self._heap)
