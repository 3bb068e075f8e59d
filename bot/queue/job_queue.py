"""The shared queue of job ids: the rows are the truth, this orders what waits and wakes the dispatcher."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import replace
from itertools import chain, islice
from typing import TypeVar

from bot.core.ports import Ticket
from bot.queue.hierarchical_fair_queue import HierarchicalFairQueue, PersonQueue, Seat, Weights
from bot.queue.work_item import Charge, WorkItem
from engine.contract import Lane


class JobQueue:
    """Everybody's waiting work, each person's in the order it came in each place; the scheduler says who is next."""

    def __init__(self, cost: Callable[[Ticket], float] = lambda _: 1.0, weights: Weights | None = None) -> None:
        """Args:
        cost: Seconds of the device for one picture, as far as is known.
        weights: How much places and people count; all the same when not given.
        """
        self._scheduler = Scheduler(cost, weights)
        self._filled = asyncio.Event()
        self._moved = asyncio.Event()
        self.version = 0
        """Changes with every change of the queue."""

    def __len__(self) -> int:
        return len(self._scheduler)

    def __contains__(self, job_id: int) -> bool:
        return job_id in self._scheduler

    def __iter__(self) -> Iterator[int]:
        """The jobs that wait, in no order."""
        return iter(self._scheduler)

    def put(self, ticket: Ticket, indexes: tuple[int, ...] | None = None, *, solo: bool = False) -> None:
        """Add a job, or what is left of it, at the end of its person's line; a job that is there is left alone.

        Args:
            ticket: Of the job, whose row is queued.
            indexes: Pictures to paint; all of them when not given.
            solo: Let it share no batch.
        """
        if ticket.job_id in self._scheduler:
            return
        self._scheduler.put(WorkItem(ticket, tuple(range(ticket.count)) if indexes is None else indexes, solo=solo))
        self._changed()

    def remove(self, job_id: int) -> bool:
        """Take a job out; returns whether it was there."""
        if self._scheduler.remove(job_id) is None:
            return False
        self._changed()
        return True

    def lead(self, fits: Fits, loaded: str = "") -> WorkItem | None:
        """Who leads the next batch as things stand; None when nobody waits, or nobody may go now. See Scheduler."""
        return self._scheduler.lead(fits, loaded)

    def give_back(self, work: WorkItem) -> None:
        """Put what a batch had no room for at the front of its person's line."""
        self._scheduler.put(work, front=True)
        self._changed()

    def take(self, limit: int, lead: WorkItem) -> tuple[WorkItem, ...]:
        """Take out the batch of at most ``limit`` pictures that ``lead`` begins. See Scheduler."""
        chosen = self._scheduler.take(limit, lead)
        self._changed()
        return chosen

    def settle(self, bill: Charge, seconds: float) -> None:
        """A picture that was handed out has ended, and took so many seconds: that is what it is charged."""
        self._scheduler.settle(bill, seconds)

    def about(self, job_id: int) -> int:
        """About where a job that has just come stands, 1 is next."""
        return self._scheduler.about(job_id)

    def order(self) -> Iterator[tuple[Lane, WorkItem]]:
        """All work in the order in which it would be begun as things stand, if nobody came. Takes O(n log n)."""
        return self._scheduler.order()

    async def filled(self) -> None:
        """Return once there is work."""
        await self._filled.wait()

    async def moved(self) -> None:
        """Return after the next change, or ``touch``; what happened since the last call counts."""
        await self._moved.wait()
        self._moved.clear()

    def touch(self) -> None:
        """Something else has changed that decides who is next."""
        self._moved.set()

    def _changed(self) -> None:
        self.version += 1
        self._moved.set()
        if self._scheduler:
            self._filled.set()
        else:
            self._filled.clear()


MANY = 8
"""A person with more pictures waiting or being drawn than this is served as bulk, however they were asked for: one request
for sixteen and sixteen requests for one are the same to everybody else."""

AGED_EVERY = 8
"""Of so many batches one goes to the work that has been first in its line for longest, whatever its lane, model and
charge. So what is first in its person's line is begun after at most AGED_EVERY * (1 + lines that were there before it)
batches (as soon as the engine has room for it)."""

LOOK_AHEAD = 32
"""So many are looked at for one that the engine has room for, and for one that may share the batch."""

PASSED_MOST = 4
"""So many batches may go before the one whose turn it is, because another model is loaded; then it is changed."""

K = TypeVar("K", bound=Hashable)

Fits = Callable[[WorkItem, Lane], bool]
"""Whether the engine has room for it now, in this lane."""


class Scheduler:
    """Everybody's waiting work. Picking the next batch takes O(log n), whatever waits."""

    def __init__(self, cost: Callable[[Ticket], float], weights: Weights | None = None) -> None:
        """Args:
        cost: Seconds of the device for one picture, as far as is known.
        weights: How much places and people count; all the same when not given.
        """
        self._trees = {lane: HierarchicalFairQueue(lane, cost, weights or Weights()) for lane in Lane}
        self._cost = cost
        self._of_job: dict[int, PersonQueue] = {}
        self._of_person: dict[int, dict[int, PersonQueue]] = {}
        # Pictures of each person that wait, or were handed out and have not ended.
        self._pictures: Counter[int] = Counter()
        # Lines by how long their first work has been first: all, and by what it can share a batch with, and by its model.
        self._ages: OrderedDict[PersonQueue, None] = OrderedDict()
        self._mates: dict[tuple[Lane, Hashable], OrderedDict[PersonQueue, None]] = {}
        self._of_model: dict[tuple[Lane, str], OrderedDict[PersonQueue, None]] = {}
        self._passed: Counter[int] = Counter()
        self._since_aged = 0

    def __len__(self) -> int:
        """How many jobs wait."""
        return len(self._of_job)

    def __contains__(self, job_id: int) -> bool:
        return job_id in self._of_job

    def __iter__(self) -> Iterator[int]:
        """The jobs that wait, in no order."""
        return iter(self._of_job)

    def put(self, work: WorkItem, *, front: bool = False) -> None:
        """Add work at the end of its person's line, or in ``front`` of it. Its job is not there yet."""
        job_id, place, person = work.ticket.job_id, work.ticket.place, work.ticket.person_id
        lines = self._of_person.setdefault(person, {})
        line = lines.get(place)
        if line is None:
            line = lines[place] = PersonQueue(place, person)
        if not line.works:
            self._ages[line] = None
        line.works[job_id] = work
        if front:
            line.works.move_to_end(job_id, last=False)
        self._of_job[job_id] = line
        self._pictures[person] += len(work.indexes)
        self._seat(person)

    def remove(self, job_id: int) -> WorkItem | None:
        """Take a job out; returns what waited of it, None when nothing did."""
        line = self._of_job.pop(job_id, None)
        self._passed.pop(job_id, None)
        if line is None:
            return None
        work = line.works.pop(job_id)
        self._gone(line.person, len(work.indexes))
        return work

    def about(self, job_id: int) -> int:
        """About where a job that has just come stands, 1 is next: behind the first of each urgent line, or at the end."""
        urgent = self._lane(self._of_job[job_id]) is Lane.INTERACTIVE
        return len(self._trees[Lane.INTERACTIVE]) if urgent else len(self)

    def lead(self, fits: Fits, loaded: str = "") -> WorkItem | None:
        """Who leads the next batch as things stand; None when nobody waits, or nobody may go now. Changes nothing.

        Args:
            fits: Whether the engine has room for it now.
            loaded: The model that is on the device; empty where that is unknown.
        """
        if self._since_aged >= AGED_EVERY - 1 and self._ages:
            oldest = next(iter(self._ages))
            lane = self._lane(oldest)
            if fits(oldest.head, lane):
                return oldest.head
            if lane is Lane.INTERACTIVE:
                return None
            # The engine has bulk work enough, and will get to it: that is no reason to let urgent work wait.
        # Bulk goes only when nothing urgent waits: not even when it would fit and the urgent work does not.
        lane = Lane.INTERACTIVE if self._trees[Lane.INTERACTIVE] else Lane.BULK
        return self._lead(lane, fits, loaded)

    def _lead(self, lane: Lane, fits: Fits, loaded: str) -> WorkItem | None:
        heads = (line.head for line in islice(self._trees[lane].walk(), LOOK_AHEAD))
        first = next((work for work in heads if fits(work, lane)), None)
        if first is None or not loaded or first.ticket.model == loaded:
            return first
        if self._passed[first.ticket.job_id] >= PASSED_MOST:
            return first
        at_hand = (line.head for line in islice(self._of_model.get((lane, loaded), ()), LOOK_AHEAD))
        return next((work for work in at_hand if fits(work, lane)), first)

    def take(self, limit: int, lead: WorkItem) -> tuple[WorkItem, ...]:
        """Take out a batch of at most ``limit`` pictures that ``lead``, as ``lead`` has returned it, begins.

        The others are first in their lines, can share it (Ticket.shares), are in its lane, and at most a batch ahead of
        those whose turn it is. Each piece says what it was charged. What finds no room is in ``later`` of the work it
        belongs to: give it back once the batch has ended, so that no job is in two batches at once.
        """
        line = self._of_job[lead.ticket.job_id]
        lane = self._lane(line)
        self._since_aged = 0 if line is next(iter(self._ages)) else self._since_aged + 1
        front = next(self._trees[lane].walk())
        if front is not line:
            self._passed[front.head.ticket.job_id] += 1
        self._trees[lane].pass_on(line)
        taken = [self._begin(line, limit)]
        room = limit - len(taken[0].indexes)
        ahead = self._cost(lead.ticket) * limit
        while room > 0 and not lead.solo:
            mates = self._mates.get((lane, _kind(lead)), ())
            mate = next((m for m in islice(mates, LOOK_AHEAD) if self._trees[lane].ahead(m) <= ahead), None)
            if mate is None:
                break
            taken.append(self._begin(mate, room))
            room -= len(taken[-1].indexes)
        return tuple(taken)

    def settle(self, bill: Charge, seconds: float) -> None:
        """A picture that was handed out has ended, and took so many seconds: that is what it is charged."""
        self._trees[bill.lane].correct(bill, seconds - bill.each)
        self._gone(bill.ticket.person_id, 1)

    def order(self) -> Iterator[tuple[Lane, WorkItem]]:
        """All work in the order in which it would be begun as things stand, if nobody came. Takes O(n log n)."""
        return chain.from_iterable(((lane, work) for work in self._trees[lane].order()) for lane in Lane)

    def _begin(self, line: PersonQueue, limit: int) -> WorkItem:
        """Charge for a line's first work and take it out; who is next in the line waits from now on."""
        piece = line.head.first(limit)
        bill = self._trees[self._lane(line)].charge(line, len(piece.indexes))
        self._ages.move_to_end(line)
        self._pictures[line.person] += len(piece.indexes)
        self.remove(piece.ticket.job_id)
        if line.seat is not None:
            self._mates[line.seat[:2]].move_to_end(line)
            self._of_model[line.seat[0], line.seat[2]].move_to_end(line)
        return replace(piece, bill=bill)

    def _lane(self, line: PersonQueue) -> Lane:
        assert line.seat is not None
        return line.seat[0]

    def _gone(self, person: int, pictures: int) -> None:
        self._pictures[person] -= pictures
        self._seat(person)
        if not self._pictures[person]:
            del self._pictures[person]

    def _seat(self, person: int) -> None:
        """Let each line of a person's stand where it belongs now."""
        lines = self._of_person.get(person, {})
        crowded = self._pictures[person] > MANY
        for line in list(lines.values()):
            seat: Seat | None = None
            if line.works:
                bulk = crowded or line.head.ticket.bulk
                seat = (Lane.BULK if bulk else Lane.INTERACTIVE, _kind(line.head), line.head.ticket.model)
            if seat != line.seat:
                self._move(line, seat)
            if seat is None:
                del lines[line.place]
                del self._ages[line]
        if not lines:
            self._of_person.pop(person, None)

    def _move(self, line: PersonQueue, seat: Seat | None) -> None:
        before, line.seat = line.seat, seat
        if before is not None:
            _drop(self._mates, before[:2], line)
            _drop(self._of_model, (before[0], before[2]), line)
            if seat is None or seat[0] is not before[0]:
                self._trees[before[0]].drop(line)
        if seat is not None:
            self._mates.setdefault(seat[:2], OrderedDict())[line] = None
            self._of_model.setdefault((seat[0], seat[2]), OrderedDict())[line] = None
            if before is None or seat[0] is not before[0]:
                self._trees[seat[0]].add(line)


def _drop(index: dict[K, OrderedDict[PersonQueue, None]], key: K, line: PersonQueue) -> None:
    del index[key][line]
    if not index[key]:
        del index[key]


def _kind(work: WorkItem) -> Hashable:
    """Equal for work that can share a batch; what goes alone is like nothing else."""
    return ("solo", work.ticket.job_id) if work.solo else work.ticket.share or work.ticket.batch_key
