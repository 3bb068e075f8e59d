"""Where a waiting job stands, and when its pictures will be there."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bot.dispatch.estimate import Estimate
from bot.dispatch.live import Live
from bot.dispatch.queue import JobQueue
from bot.dispatch.runs import Run
from bot.policy.recipes import batch_key
from bot.ports import Waiting


class Outlook:
    """Reads the queue; what it works out is kept until the queue changes."""

    def __init__(
        self,
        queue: JobQueue,
        runs: Callable[[], Mapping[int, Run]],
        live: Live,
        estimate: Estimate,
    ) -> None:
        """Args:
        queue: What waits.
        runs: What is being drawn now.
        live: How far that is.
        estimate: How long the device takes for a picture; what it draws together shares that time.
        """
        self._queue = queue
        self._runs = runs
        self._live = live
        self._estimate = estimate
        self._version = -1
        self._places: dict[int, tuple[int, float | None]] = {}

    def waiting(self, job_id: int) -> Waiting | None:
        """Position (1 is next) and expected wait; None for a job that does not wait or is partly drawn already."""
        if self._version != self._queue.version:
            self._places = self._read()
            self._version = self._queue.version
        place = self._places.get(job_id)
        if place is None:
            return None
        position, ahead = place
        now = self._running()
        eta = None if ahead is None or now is None else ahead + now
        return Waiting(position, eta)

    def _read(self) -> dict[int, tuple[int, float | None]]:
        """By job: its position, and seconds of drawing up to its end; None once any kind on the way is unknown."""
        places: dict[int, tuple[int, float | None]] = {}
        ahead: float | None = 0.0
        for work in self._queue.order():
            each = self._estimate.seconds(work.ticket.batch_key)
            ahead = None if ahead is None or each is None else ahead + each * len(work.indexes)
            if not work.started:
                places[work.ticket.job_id] = (len(places) + 1, ahead)
        return places

    def _running(self) -> float | None:
        """Seconds until what is being drawn now is done; None when unknown."""
        total = 0.0
        for run in self._runs().values():
            if run.painting:
                each = self._estimate.seconds(batch_key(run.job.request))
                if each is None:
                    return None
                total += each * len(run.recipes) * (1 - (self._live.progress(run.job.id) or 0.0))
        return total
