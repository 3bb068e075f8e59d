"""Live state of the jobs that are being drawn: progress, previews, and streams of changes for viewers."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from bot.core.events import EventBus, JobChanged, PreviewDemand


class Changes:
    """An async iterator of the ids of changed jobs.

    The first step returns at once and gives all jobs. Each later step waits for a change; changes that come between two
    steps are one step.
    """

    def __init__(self, job_ids: Collection[int]) -> None:
        self._changed = set(job_ids)
        self._event = asyncio.Event()
        self._event.set()

    def add(self, job_id: int) -> None:
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
    """A preview of an unfinished picture.

    Attributes:
        data: A small encoded picture.
        mime: Its type.
        number: Unique among all previews of this process.
    """

    data: bytes = field(repr=False)
    mime: str
    number: int


class Live:
    """Progress, previews and viewers, in memory alone: a restart loses nothing that matters."""

    def __init__(self, bus: EventBus) -> None:
        """Args:
        bus: Told when a job is stalled or goes on, and when previews are wanted.
        """
        self._bus = bus
        self._done: dict[int, dict[int, float]] = {}
        self._count: dict[int, int] = {}
        self._previews: dict[int, dict[int, PreviewFrame]] = {}
        self._numbers = itertools.count(1)
        self._viewers: dict[int, set[Changes]] = {}
        self._viewers_of_all: set[Changes] = set()
        self._preview_viewers: dict[int, int] = {}
        # The jobs whose chats have asked for previews, and what they have not taken yet.
        self._asked: set[int] = set()
        self._for_chats: dict[int, Mapping[int, PreviewFrame]] = {}
        self._preempted: set[int] = set()
        # By job: how many of its pictures, or the job's own outcome, wait to be stored.
        self._stalled = Counter[int]()

    def begin(self, job_id: int, count: int) -> None:
        """A job of ``count`` pictures is being drawn. A second call keeps the progress."""
        self._count[job_id] = count
        self._done.setdefault(job_id, {})

    def step(self, job_id: int, index: int, fraction: float) -> None:
        """Set the progress of one picture, 0 to 1. Ignored for a job that is not being drawn."""
        if (done := self._done.get(job_id)) is not None:
            done[index] = fraction

    def add_preview(self, job_id: int, index: int, data: bytes, mime: str) -> None:
        """Replace the preview of one picture and wake viewers. Ignored as in ``step``."""
        if (done := self._done.get(job_id)) is None:
            return
        frames = self._previews.setdefault(job_id, {})
        # A picture has its second one: those without any are not being drawn at the moment.
        again = index in frames
        frames[index] = PreviewFrame(data, mime, next(self._numbers))
        self.wake(job_id)
        if job_id in self._asked and (again or all(i in frames for i, fraction in done.items() if 0 < fraction < 1)):
            self._for_chats[job_id] = dict(frames)
            self._end_asking(job_id)
            self._bus.publish(JobChanged(job_id))

    def end(self, job_id: int) -> None:
        """The job is not being drawn any more."""
        self._end_asking(job_id)
        self._for_chats.pop(job_id, None)
        self._done.pop(job_id, None)
        self._count.pop(job_id, None)
        self._previews.pop(job_id, None)
        self._stalled.pop(job_id, None)
        self._preempted.discard(job_id)

    def set_preempted(self, job_id: int, on: bool) -> None:
        """Set whether a job that was begun takes no steps while the engine draws others."""
        if on:
            self._preempted.add(job_id)
        else:
            self._preempted.discard(job_id)

    def is_preempted(self, job_id: int) -> bool:
        """Whether a job that was begun takes no steps while the engine draws others."""
        return job_id in self._preempted

    def set_stalled(self, job_id: int, on: bool) -> None:
        """A result of the job waits until it can be stored (True), or no longer waits (False). Publishes JobChanged."""
        self._stalled[job_id] += 1 if on else -1
        if self._stalled[job_id] <= 0:
            del self._stalled[job_id]
        self._bus.publish(JobChanged(job_id))

    def is_stalled(self, job_id: int) -> bool:
        """Whether a result of the job waits until it can be stored."""
        return job_id in self._stalled

    def progress(self, job_id: int) -> float | None:
        """Return 0 to 1 while the job is being drawn; None otherwise."""
        done = self._done.get(job_id)
        return None if done is None else min(1.0, sum(done.values()) / self._count[job_id])

    def fractions(self, job_id: int) -> Mapping[int, float]:
        """Return how much (0 to 1) of each picture that has begun is done, by index."""
        return self._done.get(job_id, {})

    def previews(self, job_id: int) -> Mapping[int, PreviewFrame]:
        """Return the newest preview of each picture that has one, by index."""
        return self._previews.get(job_id, {})

    def ask_for_previews(self, job_id: int) -> None:
        """Have the engine make one preview of each picture that is being drawn; JobChanged says when they are there."""
        if job_id in self._done and job_id not in self._asked and job_id not in self._for_chats:
            self._asked.add(job_id)
            self._count_preview_viewer(job_id, 1)

    def take_previews(self, job_id: int) -> Mapping[int, PreviewFrame]:
        """Return, once, the previews that ``ask_for_previews`` has brought, by index; none while they are not there."""
        return self._for_chats.pop(job_id, {})

    def _end_asking(self, job_id: int) -> None:
        if job_id in self._asked:
            self._asked.discard(job_id)
            self._count_preview_viewer(job_id, -1)

    def wants_previews(self, job_id: int) -> bool:
        """Whether the job's previews are viewed."""
        return job_id in self._preview_viewers

    def on_job_changed(self, event: JobChanged) -> None:
        """Wake the job's viewers."""
        self.wake(event.job_id)

    def wake(self, job_id: int) -> None:
        """Wake the job's viewers."""
        for changes in (*self._viewers.get(job_id, ()), *self._viewers_of_all):
            changes.add(job_id)

    @contextmanager
    def subscribe(self, job_ids: Collection[int], *, previews: bool = False) -> Iterator[Changes]:
        """View jobs: ``with live.subscribe((7, 8)) as changes: async for _ in changes: ...``.

        Args:
            job_ids: Which.
            previews: View their previews too; the engine makes them only while somebody does.
        """
        changes = Changes(job_ids)
        for job_id in job_ids:
            self._viewers.setdefault(job_id, set()).add(changes)
            if previews:
                self._count_preview_viewer(job_id, 1)
        try:
            yield changes
        finally:
            for job_id in job_ids:
                viewers = self._viewers[job_id]
                viewers.discard(changes)
                if not viewers:
                    del self._viewers[job_id]
                if previews:
                    self._count_preview_viewer(job_id, -1)

    @contextmanager
    def subscribe_all(self) -> Iterator[Changes]:
        """View every job, without previews: the steps of ``changes`` give those that have changed since."""
        changes = Changes(())
        self._viewers_of_all.add(changes)
        try:
            yield changes
        finally:
            self._viewers_of_all.discard(changes)

    def view_previews(self, job_id: int) -> None:
        """View a job's previews, until as many calls of ``leave_previews``; the engine makes them only meanwhile."""
        self._count_preview_viewer(job_id, 1)

    def leave_previews(self, job_id: int) -> None:
        """End what one call of ``view_previews`` has begun."""
        self._count_preview_viewer(job_id, -1)

    def _count_preview_viewer(self, job_id: int, by: int) -> None:
        before = self._preview_viewers.get(job_id, 0)
        after = before + by
        if after:
            self._preview_viewers[job_id] = after
        else:
            del self._preview_viewers[job_id]
        if not before or not after:
            # The next viewer would take an old preview for a new one; one may also come after the last viewer has left.
            self._previews.pop(job_id, None)
            self._bus.publish(PreviewDemand(job_id, wanted=not before))
