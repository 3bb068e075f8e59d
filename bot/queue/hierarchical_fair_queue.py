"""Start-time fair queueing among siblings, in virtual seconds of the device. Knows neither jobs nor people.

Goyal, Vin and Cheng, "Start-time Fair Queuing", SIGCOMM 1996: everybody who waits has a start tag, the smallest is next,
and whoever was served moves on by what that cost, divided by their weight. Virtual time is the tag of the one who is
next; who comes (back) starts there at the earliest, so that nobody has saved anything up while they did not ask.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from bot.core.ports import Ticket
from bot.queue.work_item import Charge, WorkItem
from engine.contract import Lane

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


CROWD = 8
"""A place counts for as many as wait in it, but for no more than so many: a lone direct message does not get as much as
a whole server, and no number of accounts in one place gets more than eight times what a lone one gets."""

_EACH_PLACE = 32
"""So many people of one place are looked at before those of the next."""


@dataclass(frozen=True, slots=True)
class Weights:
    """How much places and people count beside others; 1 unless somebody says otherwise. Each above 0.

    Attributes:
        place: By the number of the place (a ticket's ``place``).
        person: By the person's number.
    """

    place: Callable[[int], float] = lambda _: 1.0
    person: Callable[[int], float] = lambda _: 1.0


Seat = tuple[Lane, Hashable, str]


@dataclass(slots=True, eq=False)
class PersonQueue:
    """What one person has waiting in one place, in the order in which it came.

    Attributes:
        place: Where; see Ticket.
        person: Whose.
        works: By job.
        seat: The lane in which it stands now, what its first work can share a batch with, and its model; None while it
            is empty.
    """

    place: int
    person: int
    works: OrderedDict[int, WorkItem] = field(default_factory=OrderedDict)
    seat: Seat | None = None

    @property
    def head(self) -> WorkItem:
        """What is begun next of it; it is not empty."""
        return next(iter(self.works.values()))


class HierarchicalFairQueue:
    """Places, and the people in each."""

    def __init__(self, lane: Lane, cost: Callable[[Ticket], float], weights: Weights) -> None:
        """Args:
        lane: Which lane.
        cost: Seconds of the device for one picture.
        weights: How much places and people count.
        """
        self._lane = lane
        self._cost = cost
        self._weights = weights
        self._places = FairQueue()
        self._people: dict[int, FairQueue] = {}
        self._lines: dict[tuple[int, int], PersonQueue] = {}

    def __len__(self) -> int:
        """How many lines stand in it."""
        return len(self._lines)

    def add(self, line: PersonQueue) -> None:
        """Its person has work here."""
        self._lines[line.place, line.person] = line
        people = self._people.get(line.place)
        if people is None:
            people = self._people[line.place] = FairQueue()
            self._places.wake(line.place)
        people.wake(line.person)

    def drop(self, line: PersonQueue) -> None:
        """Its person has no more work here."""
        del self._lines[line.place, line.person]
        people = self._people[line.place]
        people.sleep(line.person)
        if not people:
            del self._people[line.place]
            self._places.sleep(line.place)

    def walk(self) -> Iterator[PersonQueue]:
        """The lines in about the order of their turns, lazily: of each place only the first few."""
        for place in self._places.walk():
            for person in islice(self._people[place].walk(), _EACH_PLACE):
                yield self._lines[place, person]

    def ahead(self, line: PersonQueue) -> float:
        """How many seconds of the device a line, or its place, has had more than those whose turn it is."""
        people = self._people[line.place]
        person = people.place(line.person)[0] - people.front()
        place = self._places.place(line.place)[0] - self._places.front()
        return max(person * self._weights.person(line.person), place * self._weight(line.place))

    def pass_on(self, line: PersonQueue) -> None:
        """A batch begins with this line's first work."""
        self._places.pass_on()
        self._people[line.place].pass_on()

    def charge(self, line: PersonQueue, pictures: int) -> Charge:
        """Charge a line for so many pictures of its first work."""
        ticket = line.head.ticket
        place, person = self._weight(line.place), self._weights.person(line.person)
        bill = Charge(ticket, self._lane, self._cost(ticket), place, person)
        self.correct(bill, bill.each * pictures)
        return bill

    def correct(self, bill: Charge, seconds: float) -> None:
        """Charge so many seconds more by the weights of a bill; fewer than 0 are given back."""
        place, person = bill.ticket.place, bill.ticket.person_id
        self._places.charge(place, seconds / bill.place_weight)
        if (people := self._people.get(place)) is not None:
            people.charge(person, seconds / bill.person_weight)

    def order(self) -> list[WorkItem]:
        """All work in the order in which it would be begun as things stand, if nobody came. Takes O(n log n)."""
        # Sorted as they are: the running numbers are all different, so that works are never compared.
        whole: list[tuple[float, int, int, WorkItem]] = []
        numbers = itertools.count()
        for place, people in self._people.items():
            here: list[tuple[float, int, int, float, WorkItem]] = []
            for person in people:
                tag, came = people.place(person)
                weight = self._weights.person(person)
                for work in self._lines[place, person].works.values():
                    cost = self._cost(work.ticket) * len(work.indexes)
                    here.append((tag, came, next(numbers), cost, work))
                    tag += cost / weight
            here.sort()
            tag, came = self._places.place(place)
            weight = self._weight(place)
            for _, _, _, cost, work in here:
                whole.append((tag, came, next(numbers), work))
                tag += cost / weight
        whole.sort()
        return [entry[3] for entry in whole]

    def _weight(self, place: int) -> float:
        return min(len(self._people[place]), CROWD) * self._weights.place(place)
