"""What changes faster than rows: progress and previews while drawing, and waking whoever watches a job."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field


class Changes:
    """Steps once at once, then after changes; many changes at once are one step. A step gives the jobs that have changed."""

    def __init__(self, job_ids: Collection[int]) -> None:
        self._changed = set(job_ids)
        self._event = asyncio.Event()
        self._event.set()

    def put(self, job_id: int) -> None:
        """A job has changed."""
        self._changed.add(job_id)
        self._event.set()

    def __aiter__(self) -> Changes:
        return self

    async def __anext__(self) -> tuple[int, ...]:
        await self._event.wait()
        self._event.clear()
        changed = tuple(sorted(self._changed))
        self._changed.clear()
        return changed


@dataclass(frozen=True, slots=True)
class PreviewFrame:
    """How a picture looks so far: a small encoded file, and a number that no other preview has."""

    data: bytes = field(repr=False)
    mime: str
    number: int


def _nobody(job_id: int, looking: bool) -> None:
    """Tell nobody."""


class Live:
    """Progress, previews and wake-ups, in memory alone: after a restart there is none, and nothing is lost by that."""

    def __init__(self) -> None:
        self.on_look: Callable[[int, bool], None] = _nobody
        """Called with a job's id when somebody begins to look at its previews (True), and when the last one leaves."""
        self._done: dict[int, dict[int, float]] = {}
        self._count: dict[int, int] = {}
        self._sights: dict[int, dict[int, PreviewFrame]] = {}
        self._numbers = itertools.count(1)
        self._watchers: dict[int, set[Changes]] = {}
        self._looking: dict[int, int] = {}
        self._preempted: set[int] = set()
        self._stalled = Counter[int]()  # how many of its pictures, or its end

    def begin(self, job_id: int, count: int) -> None:
        """Drawing of a job of ``count`` pictures begins; beginning again keeps what is done."""
        self._count[job_id] = count
        self._done.setdefault(job_id, {})

    def step(self, job_id: int, index: int, fraction: float) -> None:
        """So much (0 to 1) of one of its pictures is done; ignored when the job is not being drawn."""
        if (done := self._done.get(job_id)) is not None:
            done[index] = fraction

    def preview(self, job_id: int, index: int, data: bytes, mime: str) -> None:
        """One of its pictures looks like this so far; ignored when the job is not being drawn. Wakes watchers alone."""
        if job_id in self._done:
            self._sights.setdefault(job_id, {})[index] = PreviewFrame(data, mime, next(self._numbers))
            self.changed(job_id)

    def end(self, job_id: int) -> None:
        """It is not being drawn any more."""
        self._done.pop(job_id, None)
        self._count.pop(job_id, None)
        self._sights.pop(job_id, None)
        self._stalled.pop(job_id, None)
        self._preempted.discard(job_id)

    def preempt(self, job_id: int, on: bool) -> None:
        """It was begun and takes no steps while the engine draws others (True), or it goes on (False)."""
        if on:
            self._preempted.add(job_id)
        else:
            self._preempted.discard(job_id)

    def preempted(self, job_id: int) -> bool:
        """Whether it was begun and takes no steps while the engine draws others."""
        return job_id in self._preempted

    def stall(self, job_id: int, on: bool) -> None:
        """What is drawn of it has to wait until it can be stored (True), or that is over (False); wakes watchers."""
        self._stalled[job_id] += 1 if on else -1
        if self._stalled[job_id] <= 0:
            del self._stalled[job_id]
        self.changed(job_id)

    def stalled(self, job_id: int) -> bool:
        """Whether what is drawn of it waits until it can be stored."""
        return job_id in self._stalled

    def progress(self, job_id: int) -> float | None:
        """0 to 1 while it is being drawn; None otherwise."""
        done = self._done.get(job_id)
        return None if done is None else min(1.0, sum(done.values()) / self._count[job_id])

    def sights(self, job_id: int) -> Mapping[int, PreviewFrame]:
        """How its pictures look so far, by index; those that nothing is known of are left out."""
        return self._sights.get(job_id, {})

    def looking(self, job_id: int) -> bool:
        """Whether somebody looks at its previews."""
        return job_id in self._looking

    def watchers(self, job_id: int) -> int:
        """How many watch it, with or without previews."""
        return len(self._watchers.get(job_id, ()))

    def changed(self, job_id: int) -> None:
        """Wake those who watch this job."""
        for changes in self._watchers.get(job_id, ()):
            changes.put(job_id)

    @contextmanager
    def subscribe(self, job_id: int, *, looking: bool = False) -> Iterator[Changes]:
        """Watch a job: ``with live.subscribe(7) as changes: async for _ in changes: ...``.

        Args:
            job_id: Which.
            looking: Look at its previews too: only then are there any.
        """
        with self.subscribe_all((job_id,), looking=looking) as changes:
            yield changes

    @contextmanager
    def subscribe_all(self, job_ids: Collection[int], *, looking: bool = False) -> Iterator[Changes]:
        """Watch several jobs; otherwise as ``subscribe``."""
        changes = Changes(job_ids)
        for job_id in job_ids:
            self._watchers.setdefault(job_id, set()).add(changes)
            if looking:
                self._looks(job_id, 1)
        try:
            yield changes
        finally:
            for job_id in job_ids:
                watchers = self._watchers[job_id]
                watchers.discard(changes)
                if not watchers:
                    del self._watchers[job_id]
                if looking:
                    self._looks(job_id, -1)

    def _looks(self, job_id: int, by: int) -> None:
        before = self._looking.get(job_id, 0)
        if before + by:
            self._looking[job_id] = before + by
        else:
            del self._looking[job_id]
            # An old picture would look like news to whoever comes next.
            self._sights.pop(job_id, None)
        if not before or not before + by:
            self.on_look(job_id, not before)
