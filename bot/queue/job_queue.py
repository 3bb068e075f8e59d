"""The queue of waiting jobs. The rows are the truth; this orders them, and wakes the dispatcher when they change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping

from bot.core.ports import Ticket
from bot.queue.fair_queue import Charge, WorkItem
from bot.queue.scheduler import Fits, Scheduler, always
from engine.contract import Lane


class JobQueue:
    """All waiting jobs. Wakes the dispatcher when they change."""

    def __init__(self, cost: Callable[[Ticket], float] = lambda _: 1.0) -> None:
        """``cost`` returns the expected device seconds of one picture."""
        self._scheduler = Scheduler(cost)
        self._nonempty = asyncio.Event()
        self._changed = asyncio.Event()
        self.version = 0
        """Increases with every change of the queue."""

    def __len__(self) -> int:
        return len(self._scheduler)

    def __contains__(self, job_id: int) -> bool:
        return job_id in self._scheduler

    def __iter__(self) -> Iterator[int]:
        """Iterate over the ids of the waiting jobs, in no order."""
        return iter(self._scheduler)

    def put(self, ticket: Ticket, indexes: tuple[int, ...] | None = None, *, solo: bool = False) -> None:
        """Add a job at the end of its person's queue; does nothing for a job that waits already.

        Args:
            ticket: The job, whose row is queued.
            indexes: Pictures to draw; all by default.
            solo: Draw it in a batch of its own.
        """
        if ticket.job_id in self._scheduler:
            return
        self._scheduler.put(WorkItem(ticket, tuple(range(ticket.count)) if indexes is None else indexes, solo=solo))
        self._on_change()

    def put_front(self, item: WorkItem) -> None:
        """Put what a batch had no room for at the front of its person's queue, together with what waits of the job."""
        if item.ticket.job_id in self._scheduler:
            self._scheduler.join(item)
        else:
            self._scheduler.put(item, front=True)
        self._on_change()

    def remove(self, job_id: int) -> bool:
        """Remove a job; returns whether it was there."""
        if self._scheduler.remove(job_id) is None:
            return False
        self._on_change()
        return True

    def move_ahead(self, job_id: int) -> bool:
        """See ``Scheduler.move_ahead``."""
        return self._moved(self._scheduler.move_ahead(job_id))

    def move_behind(self, job_id: int, last_id: int) -> bool:
        """See ``Scheduler.move_behind``."""
        return self._moved(self._scheduler.move_behind(job_id, last_id))

    def newest(self) -> int:
        """See ``Scheduler.newest``."""
        return self._scheduler.newest()

    def lead(
        self,
        fits: Fits,
        resident: Collection[str] = (),
        *,
        keeps: Callable[[WorkItem], bool] = always,
        beyond: bool = False,
    ) -> WorkItem | None:
        """See ``Scheduler.lead``."""
        return self._scheduler.lead(fits, resident, keeps=keeps, beyond=beyond)

    def set_models(self, models: frozenset[str] | None) -> None:
        """See ``Scheduler.set_models``."""
        self._scheduler.set_models(models)

    def models(self) -> frozenset[str]:
        """See ``Scheduler.models``."""
        return self._scheduler.models()

    def pictures(self, model: str) -> int:
        """See ``Scheduler.pictures``."""
        return self._scheduler.pictures(model)

    def lane(self, item: WorkItem) -> Lane:
        """See ``Scheduler.lane``."""
        return self._scheduler.lane(item)

    def has_urgent(self) -> bool:
        """See ``Scheduler.has_urgent``."""
        return self._scheduler.has_urgent()

    def pictures_like(self, lead: WorkItem, most: int) -> int:
        """See ``Scheduler.pictures_like``."""
        return self._scheduler.pictures_like(lead, most)

    def shortest_new(self) -> Mapping[Lane, int]:
        """See ``Scheduler.shortest_new``."""
        return self._scheduler.shortest_new()

    def take(self, limit: int, lead: WorkItem, *, mates: Callable[[WorkItem], bool] = always) -> tuple[WorkItem, ...]:
        """See ``Scheduler.take``."""
        taken = self._scheduler.take(limit, lead, mates=mates)
        self._on_change()
        return taken

    def settle(self, charge: Charge, seconds: float) -> None:
        """See ``Scheduler.settle``."""
        self._scheduler.settle(charge, seconds)

    def approximate_position(self, job_id: int) -> int:
        """See ``Scheduler.approximate_position``."""
        return self._scheduler.approximate_position(job_id)

    def order(self) -> Iterator[tuple[Lane, WorkItem]]:
        """See ``Scheduler.order``."""
        return self._scheduler.order()

    async def wait_nonempty(self) -> None:
        """Return once a job waits."""
        await self._nonempty.wait()

    async def wait_changed(self) -> None:
        """Return after the next change or ``notify``; those since the last call count."""
        await self._changed.wait()
        self._changed.clear()

    def notify(self) -> None:
        """Something else has changed that decides which item is next."""
        self._changed.set()

    def _moved(self, moved: bool) -> bool:
        if moved:
            self._on_change()
        return moved

    def _on_change(self) -> None:
        self.version += 1
        self._changed.set()
        if self._scheduler:
            self._nonempty.set()
        else:
            self._nonempty.clear()
