"""A device in simulated time, with the engine's own order of steps: a simulated day takes a moment.

Steps take the time that was measured on a device. Nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bot.queue.fair_queue import WorkItem
from engine.catalogue import batch_of
from engine.contract import EngineState, Phase, Slot
from engine.diffusion.request_state import RequestState, StepScheduler
from engine.host.process_engine import CALLS, SLOT
from tests.fakes.simulated_dispatch import Ask, Asked, Row, SimulatedDispatch

NATIVE = 192 * 192


def two_cores(pixels: int, together: int) -> float:
    """Seconds of a step of the bundled model on two cores, as docs/performance.md has it."""
    return (0.015 + 0.015 * together) * pixels / NATIVE


class Device(SimulatedDispatch):
    """One device, the queue before it, and the people who request pictures.

    Args:
        step: Seconds of a step of so many pixels and pictures.
        switch: Seconds that a model change takes.
        overhead: How much of a picture's time storing it takes, which the engine does not count.
        on_done: Called with each job that is done.
        predicting: Whether each job's wait is predicted when it comes.

    Attributes:
        led: The first work of each batch.
    """

    def __init__(
        self,
        step: Callable[[int, int], float] = two_cores,
        *,
        switch: float = 0.0,
        overhead: float = 0.0,
        on_done: Callable[[Asked], None] = lambda _: None,
        predicting: bool = False,
    ) -> None:
        super().__init__([_slot(())], on_done=on_done, predicting=predicting)
        self.led: list[WorkItem] = []
        self.scheduler = StepScheduler(lambda request: batch_of(request.key.pixels))
        self._step, self._switch, self._overhead = step, switch, overhead

    def run(self, asks: Iterable[Ask], until: Callable[[], bool] = lambda: False) -> None:
        """Make the requests at their times, and draw until nothing is left or ``until`` holds."""
        coming = sorted(asks, key=lambda ask: ask.at)
        coming.reverse()
        while not until():
            while coming and coming[-1].at <= self.now():
                self._put(coming.pop())
            self._hand_over()
            team = self.scheduler.schedule()
            if team:
                self._draw(team)
            elif coming:
                # A little more: rounding could keep the clock just before that time.
                self.clock.advance(coming[-1].at - self.now() + 1e-6)
            else:
                assert not len(self.queue), "jobs wait while the device is idle"
                return

    def _hand_over(self) -> None:
        while (chosen := next(self.batcher.choose(), None)) is not None:
            lead = chosen[1]
            request = self.jobs[lead.ticket.job_id].job.request
            room = batch_of(request.width * request.height)
            works = self.batcher.take(SLOT, room, lead)
            self.led.append(works[0])
            self._begin(SLOT, works, room, self.scheduler)

    def _draw(self, team: list[RequestState]) -> None:
        key = team[0].key
        if key.model not in self.scheduler.loaded:
            self.scheduler.loaded = (key.model,)
            self.batcher.set_slots([_slot((key.model,))])
            self.clock.advance(self._switch)
        seconds = self._step(key.pixels, len(team))
        self.clock.advance(seconds)
        self._stepped(self.scheduler, team, seconds, self._store)

    def _store(self, row: Row) -> None:
        """Storing a picture keeps the device from its next step."""
        self.clock.advance(row.seconds * self._overhead)


def _slot(loaded: tuple[str, ...]) -> Slot:
    return Slot(SLOT, EngineState(Phase.IDLE, resident=loaded), CALLS)
