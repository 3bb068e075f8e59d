"""What changes faster than rows: progress while drawing, and waking whoever watches a job."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Changes:
    """Steps once at once, then after changes; many changes at once are one step."""

    def __init__(self, event: asyncio.Event) -> None:
        self._event = event
        event.set()

    def __aiter__(self) -> Changes:
        return self

    async def __anext__(self) -> None:
        await self._event.wait()
        self._event.clear()


class Live:
    """Progress and wake-ups, in memory alone: after a restart there is none, and nothing is lost by that."""

    def __init__(self) -> None:
        self._done: dict[int, dict[int, float]] = {}
        self._count: dict[int, int] = {}
        self._watchers: dict[int, set[asyncio.Event]] = {}

    def begin(self, job_id: int, count: int) -> None:
        """Drawing of a job of ``count`` pictures begins; beginning again keeps what is done."""
        self._count[job_id] = count
        self._done.setdefault(job_id, {})

    def step(self, job_id: int, index: int, fraction: float) -> None:
        """So much (0 to 1) of one of its pictures is done; ignored when the job is not being drawn."""
        if (done := self._done.get(job_id)) is not None:
            done[index] = fraction

    def end(self, job_id: int) -> None:
        """It is not being drawn any more."""
        self._done.pop(job_id, None)
        self._count.pop(job_id, None)

    def progress(self, job_id: int) -> float | None:
        """0 to 1 while it is being drawn; None otherwise."""
        done = self._done.get(job_id)
        return None if done is None else min(1.0, sum(done.values()) / self._count[job_id])

    def changed(self, job_id: int) -> None:
        """Wake those who watch this job."""
        for event in self._watchers.get(job_id, ()):
            event.set()

    @contextmanager
    def subscribe(self, job_id: int) -> Iterator[Changes]:
        """Watch a job: ``with live.subscribe(7) as changes: async for _ in changes: ...``."""
        event = asyncio.Event()
        self._watchers.setdefault(job_id, set()).add(event)
        try:
            yield Changes(event)
        finally:
            watchers = self._watchers[job_id]
            watchers.discard(event)
            if not watchers:
                del self._watchers[job_id]
