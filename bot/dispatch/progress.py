"""Shows how far jobs are: their steps, and which of them the engine has set aside for others."""

from __future__ import annotations

from collections import defaultdict

from bot.core.events import EventBus, InChats, JobChanged
from bot.core.ports import Clock
from bot.delivery.live import Live
from bot.dispatch.active_job import ActiveJob, ActiveJobs
from engine.contract import Step

_SHOW_EVERY = 0.2
"""Shortest time between two updates of a job's progress, in seconds."""

_PREEMPTED_AFTER = 1.0
"""Seconds without a step, while others take steps, after which a job's card says so; a shorter pause would only flicker."""


class JobProgress:
    """The progress of the jobs that slots draw."""

    def __init__(self, active: ActiveJobs, live: Live, bus: EventBus, clock: Clock) -> None:
        """Args:
        active: The jobs that are being drawn.
        live: Gets the progress.
        bus: Told when a job's card may look different.
        clock: Time.
        """
        self._active = active
        self._live = live
        self._bus = bus
        self._clock = clock
        # The active jobs that each slot has had pictures of, and the slots of each of them: a picture may have been with
        # a slot that was lost before the one that drew it.
        self._on_slot: defaultdict[str, set[int]] = defaultdict(set)
        self._slots_of: defaultdict[int, set[str]] = defaultdict(set)

    def begin(self, active: ActiveJob, slot: str) -> None:
        """A slot is given pictures of a job."""
        self._on_slot[slot].add(active.job.id)
        self._slots_of[active.job.id].add(slot)
        self._live.begin(active.job.id, len(active.recipes))
        for index in active.done:
            self._live.step(active.job.id, index, 1.0)

    def end(self, active: ActiveJob) -> None:
        """The job has ended."""
        for slot in self._slots_of.pop(active.job.id, ()):
            self._on_slot[slot].discard(active.job.id)

    def step(self, active: ActiveJob, index: int, event: Step) -> None:
        """A picture of a job has taken a step."""
        job_id = active.job.id
        self._live.step(job_id, index, event.step / event.steps)
        now = self._clock.monotonic()
        before, active.step_times[index] = active.step_times.get(index), now
        resumed = self._live.is_preempted(job_id)
        # More updates than a person can follow would take time from the drawing itself.
        if resumed or event.step in (1, event.steps) or now - active.shown_at >= _SHOW_EVERY:
            active.shown_at = now
            self._live.set_preempted(job_id, False)
            self._bus.publish(JobChanged(job_id, InChats.LATER))
            if before is not None:
                # Pictures that share steps with this one have taken theirs within one and a half steps.
                self._mark_preempted(active.slots[index], now - max(_PREEMPTED_AFTER, 1.5 * (now - before)))

    def _mark_preempted(self, slot: str, since: float) -> None:
        """Show which jobs of a slot have taken no step since then; another slot may take longer for a step."""
        for job_id in self._on_slot[slot]:
            active = self._active.get(job_id)
            if active is None or any(active.slots[index] != slot for index in active.painting):
                continue
            if not self._live.is_preempted(job_id) and active.is_paused(since):
                self._live.set_preempted(job_id, True)
                self._bus.publish(JobChanged(job_id, InChats.LATER))
