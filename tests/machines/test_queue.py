"""The queue under everything that can happen to it: nothing lost or doubled, in order, fair, and nobody starves."""

from __future__ import annotations

import itertools
from collections import Counter, OrderedDict
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from bot.core.ports import Ticket
from bot.queue.fair_queue import WorkItem
from bot.queue.scheduler import AGED_EVERY, BULK_ABOVE, Scheduler
from engine.contract import Lane

LIMIT = 4
"""Pictures in a batch."""

COSTS = {"a": 1.0, "b": 2.5, "c": 0.5}
"""Seconds of a picture, by kind."""

KINDS = st.sampled_from(sorted(COSTS))
PEOPLE = st.integers(1, 4)
PLACES = st.integers(1, 3)


@dataclass
class Job:
    """What the oracle knows of a job."""

    person: int
    place: int
    kind: str
    waits: list[int]
    out: list[int] = field(default_factory=list)
    drawn: set[int] = field(default_factory=set)
    begun: bool = False
    solo: bool = False


class Queue(RuleBasedStateMachine):
    """People ask and cancel in several places; batches are taken, drawn, lost, and handed back."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(lambda ticket: COSTS[ticket.model])
        self.ids = itertools.count(1)
        self.jobs: dict[int, Job] = {}
        self.cancelled: set[int] = set()
        self.batches: list[tuple[WorkItem, ...]] = []
        # The line of each person in each place, and for how many batches its first has been passed at most.
        self.lines: dict[tuple[int, int], OrderedDict[int, None]] = {}
        self.bounds: dict[tuple[int, int], int] = {}

    def _wait(self, job_id: int, indexes: list[int], *, front: bool = False, solo: bool = False) -> None:
        job = self.jobs[job_id]
        job.waits, job.solo = indexes, solo
        line = self.lines.setdefault((job.place, job.person), OrderedDict())
        if not line:
            self.bounds[job.place, job.person] = AGED_EVERY * (1 + len(self.bounds))
        line[job_id] = None
        if front:
            line.move_to_end(job_id, last=False)

    def _leave(self, job_id: int) -> None:
        job = self.jobs[job_id]
        key = job.place, job.person
        job.waits = []
        if key in self.lines and job_id in self.lines[key]:
            del self.lines[key][job_id]
            if not self.lines[key]:
                del self.lines[key], self.bounds[key]

    @rule(person=PEOPLE, place=PLACES, kind=KINDS, count=st.integers(1, 6))
    def put(self, person: int, place: int, kind: str, count: int) -> None:
        job_id = next(self.ids)
        self.jobs[job_id] = Job(person, place, kind, [])
        ticket = Ticket(job_id, person, count, (kind,), kind, place=place, bulk=count > 4)
        self.scheduler.put(WorkItem(ticket, tuple(range(count))))
        self._wait(job_id, list(range(count)))

    @rule(loaded=KINDS)
    def claim(self, loaded: str) -> None:
        lead = self.scheduler.lead(lambda *_: True, (loaded,))
        assert (lead is None) == (not self.lines), "somebody waits and nobody is begun"
        if lead is None:
            return
        self._check_lane(lead)
        works = self.scheduler.take(LIMIT, lead)
        assert works[0].ticket == lead.ticket
        assert sum(len(work.indexes) for work in works) <= LIMIT
        assert len({work.ticket.model for work in works}) == 1
        assert len(works) == 1 or not any(self.jobs[work.ticket.job_id].solo for work in works)
        for work in works:
            self._begin(work)
        self.batches.append(works)
        for key in self.bounds:
            self.bounds[key] -= 1
            assert self.bounds[key] >= 0, f"{key} starves"

    def _begin(self, work: WorkItem) -> None:
        job_id = work.ticket.job_id
        job = self.jobs[job_id]
        key = job.place, job.person
        assert job_id not in self.cancelled
        assert next(iter(self.lines[key])) == job_id, "begun out of order with themselves"
        assert [*work.indexes, *work.later] == job.waits, "pictures lost or doubled"
        assert not set(work.indexes) & ({*job.out} | job.drawn)
        assert work.charge is not None
        assert work.charge.seconds_per_picture == COSTS[job.kind]
        job.out += work.indexes
        job.begun = True
        older = list(self.bounds)
        self._leave(job_id)
        if key in self.lines:
            # Whoever is next in this line waits from now on, behind the first of every other.
            del self.bounds[key]
            self.bounds[key] = AGED_EVERY * len(older)

    def _check_lane(self, lead: WorkItem) -> None:
        """Bulk leads only when nothing urgent waits, or when nobody has been first in a line for longer."""
        assert lead.ticket.job_id in self.scheduler
        key = lead.ticket.place, lead.ticket.person_id
        urgent = [k for k, line in self.lines.items() if self._lane(k, line) is Lane.INTERACTIVE]
        oldest = next(iter(self.bounds))
        assert self._lane(key, self.lines[key]) is Lane.INTERACTIVE or not urgent or key == oldest

    def _lane(self, key: tuple[int, int], line: OrderedDict[int, None]) -> Lane:
        mine = sum(len(job.waits) + len(job.out) for job in self.jobs.values() if job.person == key[1])
        ticket = self.jobs[next(iter(line))]
        large = len(ticket.waits) + len(ticket.out) + len(ticket.drawn) > 4
        return Lane.BULK if large or mine > BULK_ABOVE else Lane.INTERACTIVE

    @rule(nth=st.integers(0, 3), share=st.floats(0.2, 3.0))
    def finish(self, nth: int, share: float) -> None:
        """A batch is drawn, in more or less time than was thought; what found no room waits again."""
        for work in self._batch(nth):
            assert work.charge is not None
            job = self.jobs[work.ticket.job_id]
            for index in work.indexes:
                self.scheduler.settle(work.charge, work.charge.seconds_per_picture * share)
                job.out.remove(index)
                job.drawn.add(index)
            self._give_back(work)

    @rule(nth=st.integers(0, 3))
    def give_back(self, nth: int) -> None:
        """The claim failed: everything waits as before."""
        for work in reversed(self._batch(nth)):
            self._refund(work)
            if work.ticket.job_id not in self.cancelled:
                whole = work.whole()
                self.scheduler.put(whole, front=True)
                self._wait(work.ticket.job_id, list(whole.indexes), front=True, solo=work.solo)

    @rule(nth=st.integers(0, 3))
    def lose(self, nth: int) -> None:
        """The engine was lost with it: each job is tried alone, at the end of its line."""
        for work in self._batch(nth):
            self._refund(work)
            if work.ticket.job_id not in self.cancelled:
                left = work.indexes + work.later
                self.scheduler.put(WorkItem(work.ticket, left, started=True, solo=True))
                self._wait(work.ticket.job_id, list(left), solo=True)

    @rule(nth=st.integers(0, 9))
    def cancel(self, nth: int) -> None:
        known = [job_id for job_id in self.jobs if job_id not in self.cancelled]
        if not known:
            return
        job_id = known[nth % len(known)]
        found = self.scheduler.remove(job_id)
        assert (list(found.indexes) if found else []) == self.jobs[job_id].waits
        self.cancelled.add(job_id)
        self._leave(job_id)

    def _batch(self, nth: int) -> tuple[WorkItem, ...]:
        return self.batches.pop(nth % len(self.batches)) if self.batches else ()

    def _refund(self, work: WorkItem) -> None:
        assert work.charge is not None
        for index in work.indexes:
            self.scheduler.settle(work.charge, 0.0)
            self.jobs[work.ticket.job_id].out.remove(index)

    def _give_back(self, work: WorkItem) -> None:
        rest = work.rest()
        if rest is not None and work.ticket.job_id not in self.cancelled:
            self.scheduler.put(rest, front=True)
            self._wait(work.ticket.job_id, list(rest.indexes), front=True, solo=work.solo)

    @invariant()
    def all_that_waits_is_there(self) -> None:
        waiting = {job_id: job.waits for job_id, job in self.jobs.items() if job.waits}
        assert len(self.scheduler) == len(waiting)
        assert {w.ticket.job_id: list(w.indexes) for _, w in self.scheduler.order()} == waiting
        assert set(self.scheduler) == waiting.keys()

    @rule(place=PLACES, kind=KINDS, times=st.integers(AGED_EVERY, 2 * AGED_EVERY))
    def others_keep_coming(self, place: int, kind: str, times: int) -> None:
        """Somebody new before each batch: whoever waits must be begun nevertheless."""
        self.put(50, place, kind, 6)
        for n in range(times):
            self.put(100 + n, place, kind, 1)
            self.claim(kind)
            self.finish(0, 1.0)

    @rule()
    def draw_all(self) -> None:
        """Nobody comes any more: everything is drawn to its end."""
        while self.lines or self.batches:
            self.claim("a")
            while self.batches:
                self.finish(0, 1.0)
        for job_id, job in self.jobs.items():
            assert job_id in self.cancelled or not (job.waits or job.out), "not drawn to its end"
        assert not self.scheduler._pictures


def test_nothing_is_lost_and_nobody_starves() -> None:
    run_state_machine_as_test(
        Queue,
        settings=settings(
            max_examples=200,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )


class Shares(RuleBasedStateMachine):
    """People who always have something waiting, of different costs, in one place: who got how much?"""

    def __init__(self) -> None:
        super().__init__()
        self.largest: dict[int, float] = {}
        self.scheduler = Scheduler(lambda ticket: COSTS[ticket.model])
        self.ids = itertools.count(1)
        self.served: Counter[int] = Counter()
        self.waiting: Counter[int] = Counter()
        self.marks: dict[tuple[int, int], float] = {}

    @rule(person=PEOPLE, kind=KINDS, count=st.integers(1, 4), times=st.integers(1, 6))
    def put(self, person: int, kind: str, count: int, times: int) -> None:
        for _ in range(times):
            self._put(person, kind, count)

    def _put(self, person: int, kind: str, count: int) -> None:
        job_id = next(self.ids)
        # Everybody's is bulk and of a kind of its own: what lanes and sharing do is not the question here.
        ticket = Ticket(job_id, person, count, (kind, job_id), kind, place=1, bulk=True)
        self.scheduler.put(WorkItem(ticket, tuple(range(count))))
        self.largest[person] = max(self.largest.get(person, 0.0), COSTS[kind] * count)
        self.waiting[person] += 1
        if self.waiting[person] == 1:
            for other in self.waiting:
                self.marks.pop((min(person, other), max(person, other)), None)
                if other != person and self.waiting[other]:
                    self._mark(person, other)

    def _mark(self, one: int, other: int) -> None:
        one, other = min(one, other), max(one, other)
        self.marks[one, other] = self.served[one] - self.served[other]

    @rule(times=st.integers(1, 9))
    def serve(self, times: int) -> None:
        for _ in range(times):
            lead = self.scheduler.lead(lambda *_: True)
            if lead is None:
                return
            # The aged turn bounds waiting, not shares: it is looked at in the other machine.
            self.scheduler._since_aged = 0
            (work,) = self.scheduler.take(LIMIT, lead)
            person = work.ticket.person_id
            assert work.charge is not None
            self.served[person] += work.charge.seconds_per_picture * len(work.indexes)  # type: ignore[assignment]  # seconds
            for _ in work.indexes:
                self.scheduler.settle(work.charge, work.charge.seconds_per_picture)
            self._check()
            self.waiting[person] -= 1
            if not self.waiting[person]:
                self.marks = {pair: mark for pair, mark in self.marks.items() if person not in pair}

    def _check(self) -> None:
        """Of two who have waited all the time, none got more than their two largest works more than the other."""
        for (one, other), mark in self.marks.items():
            difference = abs(self.served[one] - self.served[other] - mark)
            bound = self.largest[one] + self.largest[other]
            assert difference <= bound + 1e-9, f"{one} and {other} got {difference} apart"


def test_shares_differ_by_two_works_at_most() -> None:
    run_state_machine_as_test(
        Shares,
        settings=settings(max_examples=200, stateful_step_count=20, deadline=None),
    )
