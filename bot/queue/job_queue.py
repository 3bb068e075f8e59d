"""The shared queue of job ids: the rows are the truth, this orders what waits and wakes the dispatcher."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from bot.core.ports import Ticket
from bot.queue.hierarchical_fair_queue import Weights
from bot.queue.scheduler import Fits, Scheduler
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
