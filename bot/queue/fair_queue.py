"""Hierarchical start-time fair queueing of places, and of the people in each place, in virtual device seconds.

Goyal, Vin and Cheng, "Start-time Fair Queuing", SIGCOMM 1996: each waiting flow has a start tag, and the flow with the
smallest tag is served next. Its tag then grows by the cost of the service, divided by the flow's weight: 1 for people,
``CROWD`` at most for places. Virtual time is the tag of the flow in service. A returning flow starts at the current
virtual time, so that idle time gives no credit.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import NamedTuple

from bot.core.ports import Ticket
from engine.contract import Lane

CROWD = 8
"""A place's weight is the number of people who wait in it, but at most this: a lone direct message gets less than a whole
server, and no number of accounts in one place gets more than eight times the share of one person."""

_PEOPLE_PER_PLACE = 32
"""Most people of one place that ``walk`` returns before those of the next place."""

_SLACK = 64
"""Stale entries that are kept before they are swept out."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What each picture of a work item was charged when it was handed out; corrected once its time was measured.

    Attributes:
        ticket: The job.
        lane: The lane in which it was charged.
        seconds_per_picture: Expected device seconds of one picture.
        place_weight: Weight of the place at that time.
    """

    ticket: Ticket
    lane: Lane
    seconds_per_picture: float
    place_weight: float


@dataclass(frozen=True, slots=True)
class WorkItem:
    """The pictures of one job that are still to be drawn.

    Attributes:
        ticket: The job.
        indexes: Pictures of the job to draw, 0-based; never empty.
        later: Pictures that do not fit into this batch; they are queued again after it, or at once for another slot.
        started: An earlier batch has taken some of the job's pictures, so its row is running.
        solo: It was in a batch that was lost. It is drawn alone, so that no other job is lost with it again.
        ahead: An owner moved it to the front: it begins before all others.
        charge: What it was charged; None while it waits.
    """

    ticket: Ticket
    indexes: tuple[int, ...]
    later: tuple[int, ...] = ()
    started: bool = False
    solo: bool = False
    ahead: bool = False
    charge: Charge | None = None

    def first(self, n: int) -> WorkItem:
        """Return the item with its first ``n`` pictures; the others are for later."""
        return replace(self, indexes=self.indexes[:n], later=self.indexes[n:])

    def rest(self) -> WorkItem | None:
        """Return an item with the pictures for later; None when there are none."""
        return replace(self, indexes=self.later, later=(), started=True, charge=None) if self.later else None

    def joined(self, other: WorkItem) -> WorkItem:
        """Return one item with the pictures of both; they are of the same job, and none is charged."""
        return replace(
            self,
            indexes=tuple(sorted({*self.indexes, *other.indexes})),
            started=self.started and other.started,
            solo=self.solo or other.solo,
            ahead=self.ahead or other.ahead,
        )

    def whole(self) -> WorkItem:
        """Return the item as it waited, with all its pictures and no charge."""
        return replace(self, indexes=self.indexes + self.later, later=(), charge=None)


_Entry = tuple[float, int, int]
"""Start tag, running number (first come, first served among equal tags), and the flow's key."""


class FairQueue:
    """Start-time fair queue of flows, by key. Every operation takes O(log n), amortised."""

    def __init__(self) -> None:
        self._virtual_time = 0.0
        self._tags: dict[int, float] = {}
        self._waiting: dict[int, _Entry] = {}
        # May hold stale entries: an entry counts while it is the one in _waiting.
        self._heap: list[_Entry] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        """Return how many flows wait."""
        return len(self._waiting)

    def __iter__(self) -> Iterator[int]:
        """Iterate over the waiting flows, in no order."""
        return iter(self._waiting)

    def activate(self, key: int) -> None:
        """A flow has work again."""
        self._tags[key] = max(self._virtual_time, self._tags.get(key, 0.0))
        self._push(key)

    def deactivate(self, key: int) -> None:
        """A flow has no work left; its tag is remembered while it is ahead of the virtual time."""
        del self._waiting[key]
        if not self._waiting:
            # No flow competes: the next one starts anew.
            self._virtual_time = 0.0
            self._tags.clear()
            self._heap.clear()
        elif self._tags[key] <= self._virtual_time:
            del self._tags[key]
        elif len(self._tags) > 2 * len(self._waiting) + _SLACK:
            self._tags = {k: tag for k, tag in self._tags.items() if tag > self._virtual_time or k in self._waiting}

    def smallest_tag(self) -> float:
        """Return the smallest start tag; the virtual time when no flow waits."""
        while self._heap and self._waiting.get(self._heap[0][2]) is not self._heap[0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else self._virtual_time

    def rank(self, key: int) -> tuple[float, int]:
        """Return start tag and running number of a waiting flow; the smallest is served next."""
        tag, number, _ = self._waiting[key]
        return tag, number

    def charge(self, key: int, amount: float) -> None:
        """Add virtual seconds to a flow's tag, already divided by its weight; a negative amount is a refund."""
        if key in self._tags:
            self._tags[key] += amount
            if key in self._waiting:
                self._push(key)

    def advance(self) -> None:
        """A flow is served now: virtual time advances to the smallest tag."""
        self._virtual_time = max(self._virtual_time, self.smallest_tag())

    def walk(self) -> Iterator[int]:
        """Iterate lazily over the waiting flows in the order of their tags; the queue must not change meanwhile."""
        # The children of heap[i] are heap[2i+1] and heap[2i+2], and none is smaller: a frontier is enough.
        heap = self._heap
        frontier = [(heap[0], 0)] if heap else []
        while frontier:
            entry, i = heapq.heappop(frontier)
            if self._waiting.get(entry[2]) is entry:
                yield entry[2]
            first = 2 * i + 1
            for child, below in enumerate(heap[first : first + 2], first):
                heapq.heappush(frontier, (below, child))

    def _push(self, key: int) -> None:
        entry = self._waiting[key] = (self._tags[key], next(self._numbers), key)
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._waiting) + _SLACK:
            self._heap = list(self._waiting.values())
            heapq.heapify(self._heap)


class QueueKey(NamedTuple):
    """Where a person's queue is indexed, by its first item.

    Attributes:
        lane: Its lane.
        batch: Equal for items that can share a batch.
        model: Its model.
    """

    lane: Lane
    batch: Hashable
    model: str


@dataclass(slots=True, eq=False)
class PersonQueue:
    """What one person has waiting in one place, first come, first served.

    Attributes:
        place: The place; see Ticket.
        person: The person's id.
        items: By job.
        key: Where it is indexed now; None while it is empty.
    """

    place: int
    person: int
    items: OrderedDict[int, WorkItem] = field(default_factory=OrderedDict)
    key: QueueKey | None = None

    @property
    def head(self) -> WorkItem:
        """The item that is begun next; the queue must not be empty."""
        return next(iter(self.items.values()))


class HierarchicalFairQueue:
    """One lane: a fair queue of places, and in each place a fair queue of people."""

    def __init__(self, lane: Lane, cost: Callable[[Ticket], float]) -> None:
        """Args:
        lane: The lane.
        cost: Expected device seconds of one picture.
        """
        self._lane = lane
        self._cost = cost
        self._places = FairQueue()
        self._people: dict[int, FairQueue] = {}
        self._queues: dict[tuple[int, int], PersonQueue] = {}

    def __len__(self) -> int:
        """Return how many people's queues are in it."""
        return len(self._queues)

    def add(self, queue: PersonQueue) -> None:
        """Add a person's queue, which has work in this lane."""
        self._queues[queue.place, queue.person] = queue
        people = self._people.get(queue.place)
        if people is None:
            people = self._people[queue.place] = FairQueue()
            self._places.activate(queue.place)
        people.activate(queue.person)

    def remove(self, queue: PersonQueue) -> None:
        """Remove a person's queue, which has no more work in this lane."""
        del self._queues[queue.place, queue.person]
        people = self._people[queue.place]
        people.deactivate(queue.person)
        if not people:
            del self._people[queue.place]
            self._places.deactivate(queue.place)

    def walk(self) -> Iterator[PersonQueue]:
        """Iterate lazily over people's queues in about the order of their turns, a limited number for each place."""
        for place in self._places.walk():
            for person in islice(self._people[place].walk(), _PEOPLE_PER_PLACE):
                yield self._queues[place, person]

    def surplus(self, queue: PersonQueue) -> float:
        """Return how many device seconds a person, or the place, has had more than those whose turn it is."""
        people = self._people[queue.place]
        person = people.rank(queue.person)[0] - people.smallest_tag()
        place = self._places.rank(queue.place)[0] - self._places.smallest_tag()
        return max(person, place * self._place_weight(queue.place))

    def advance(self, queue: PersonQueue) -> None:
        """A batch begins with this queue's first item: virtual time advances."""
        self._places.advance()
        self._people[queue.place].advance()

    def charge(self, queue: PersonQueue, pictures: int) -> Charge:
        """Charge a person and the place for this many pictures of the queue's first item."""
        ticket = queue.head.ticket
        charge = Charge(ticket, self._lane, self._cost(ticket), self._place_weight(queue.place))
        self.adjust(charge, charge.seconds_per_picture * pictures)
        return charge

    def adjust(self, charge: Charge, seconds: float) -> None:
        """Charge this many more device seconds with the place's weight of a charge; a negative number is a refund."""
        place, person = charge.ticket.place, charge.ticket.person_id
        self._places.charge(place, seconds / charge.place_weight)
        if (people := self._people.get(place)) is not None:
            people.charge(person, seconds)

    def order(self) -> list[WorkItem]:
        """Return all items in the order in which they would begin if no others came. Takes O(n log n)."""
        # The running numbers are all different, so that sorting never compares items.
        everywhere: list[tuple[float, int, int, WorkItem]] = []
        numbers = itertools.count()
        for place, people in self._people.items():
            here: list[tuple[float, int, int, float, WorkItem]] = []
            for person in people:
                tag, number = people.rank(person)
                for item in self._queues[place, person].items.values():
                    cost = self._cost(item.ticket) * len(item.indexes)
                    here.append((tag, number, next(numbers), cost, item))
                    tag += cost
            here.sort()
            tag, number = self._places.rank(place)
            weight = self._place_weight(place)
            for _, _, _, cost, item in here:
                everywhere.append((tag, number, next(numbers), item))
                tag += cost / weight
        everywhere.sort()
        return [entry[3] for entry in everywhere]

    def _place_weight(self, place: int) -> int:
        return min(len(self._people[place]), CROWD)
