"""The shared queue of job ids: the rows are the truth, this orders what waits and wakes the dispatcher."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator

from bot.dispatch import scheduler
from bot.dispatch.scheduler import Work
from bot.ports import Ticket


class JobQueue:
    """Everybody's waiting work, each person's in the order it came; whoever was served goes to the end of the ring."""

    def __init__(self) -> None:
        self._lines: dict[int, dict[int, Work]] = {}
        self._person: dict[int, int] = {}
        self._filled = asyncio.Event()
        self._moved = asyncio.Event()
        self._passed: Counter[int] = Counter()
        self.version = 0
        """Changes with every change of the queue."""

    def __len__(self) -> int:
        return len(self._person)

    def __contains__(self, job_id: int) -> bool:
        return job_id in self._person

    def put(self, ticket: Ticket, indexes: tuple[int, ...] | None = None, *, solo: bool = False) -> None:
        """Add a job, or what is left of it, at the end of its person's line; a job that is there is left alone.

        Args:
            ticket: Of the job, whose row is queued.
            indexes: Pictures to paint; all of them when not given.
            solo: Let it share no batch.
        """
        if ticket.job_id in self._person:
            return
        work = Work(ticket, tuple(range(ticket.count)) if indexes is None else indexes, solo=solo)
        self._lines.setdefault(ticket.person_id, {})[ticket.job_id] = work
        self._person[ticket.job_id] = ticket.person_id
        self._changed()

    def remove(self, job_id: int) -> bool:
        """Take a job out; returns whether it was there."""
        self._passed.pop(job_id, None)
        person = self._person.pop(job_id, None)
        if person is None:
            return False
        line = self._lines[person]
        del line[job_id]
        if not line:
            del self._lines[person]
        self._changed()
        return True

    def head(self) -> Work | None:
        """Whose turn it is; None when nobody waits."""
        return next(self.order(), None)

    def lead(self, fits: Callable[[Work], bool], loaded: str = "") -> Work | None:
        """Who leads the next batch as things stand; None when nobody waits, or nobody fits.

        Args:
            fits: Whether the engine has room for it now.
            loaded: The model that is on the device: a few of it may go before one that wants another.
        """
        return scheduler.lead(self.order(), fits, loaded, self._passed)

    def give_back(self, work: Work) -> None:
        """Put what a batch had no room for at the front of its person's line."""
        person, job_id = work.ticket.person_id, work.ticket.job_id
        self._lines[person] = {job_id: work, **self._lines.get(person, {})}
        self._person[job_id] = person
        self._changed()

    def take(self, limit: int, lead: Work | None = None) -> tuple[Work, ...]:
        """Take the next batch out, at most ``limit`` pictures; its first person goes to the end of the ring.

        ``lead`` is its first work where it is not the one whose turn it is; those whose turn it was are noted.

        What finds no room is in ``later`` of the work it belongs to: give it back once the batch has ended, so that
        no job is in two batches at once.
        """
        head = self.head()
        chosen = scheduler.batch([list(line.values()) for line in self._lines.values()], limit, lead)
        if head is not None and all(work.ticket.job_id != head.ticket.job_id for work in chosen):
            self._passed[head.ticket.job_id] += 1
        for work in chosen:
            self.remove(work.ticket.job_id)
        if chosen and (line := self._lines.pop(chosen[0].ticket.person_id, None)) is not None:
            self._lines[chosen[0].ticket.person_id] = line
        return chosen

    def order(self) -> Iterator[Work]:
        """All work in the order in which it would be begun as things stand."""
        return scheduler.order([list(line.values()) for line in self._lines.values()])

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
        if self._person:
            self._filled.set()
        else:
            self._filled.clear()
