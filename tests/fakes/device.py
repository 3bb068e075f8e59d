"""A device in simulated time: the service's own queue, batcher and expected waits, and the engine's own order of steps.

Steps take the time that was measured on a device. Nothing is drawn, and a simulated day takes a moment.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bot.core.events import EventBus
from bot.core.jobs import Job, JobState, ticket_of
from bot.core.ports import Eta
from bot.core.requests import DrawRequest, recipes_of
from bot.delivery.live import Live
from bot.dispatch.active_job import ActiveJob, ActiveJobs
from bot.dispatch.batcher import Batcher
from bot.dispatch.eta import EtaCalibration, EtaEstimator
from bot.dispatch.in_flight import InFlightBatch
from bot.observability.metrics import EtaOutcome
from bot.queue.fair_queue import WorkItem
from bot.queue.job_queue import JobQueue
from bot.queue.timing import DurationEstimate, Overhead
from engine.catalogue import batch_of
from engine.contract import EngineState, Image, Phase, Recipe, Slot, Step
from engine.diffusion.request_state import RequestState, StepScheduler
from engine.host.process_engine import CALLS, SLOT
from tests.fakes.clock import FakeClock

NATIVE = 192 * 192


def two_cores(pixels: int, together: int) -> float:
    """Seconds of a step of the bundled model on two cores, as docs/performance.md has it."""
    return (0.015 + 0.015 * together) * pixels / NATIVE


@dataclass(frozen=True, slots=True)
class Ask:
    """A request of a person at a time."""

    at: float
    person: int
    place: int | None = None
    count: int = 1
    width: int = 192
    height: int = 192
    steps: int = 8
    model: str = "demo"


@dataclass(slots=True)
class Asked:
    """A request and its job."""

    ask: Ask
    job: Job
    left: set[int]
    begun: float | None = None
    done: float | None = None

    @property
    def waited(self) -> float:
        """Seconds from the request to its last picture."""
        assert self.done is not None
        return self.done - self.ask.at


@dataclass(slots=True, eq=False)
class _Row:
    recipe: Recipe
    batch: InFlightBatch
    job_id: int
    index: int
    seconds: float = 0.0


@dataclass
class Device:
    """One device, the queue before it, and the people who request pictures."""

    step: Callable[[int, int], float] = two_cores
    switch: float = 0.0
    overhead: float = 0.0
    slots: int = CALLS
    predicting: bool = False
    on_done: Callable[[Asked], None] = lambda _: None
    clock: FakeClock = field(default_factory=lambda: FakeClock(0.0))
    jobs: dict[int, Asked] = field(default_factory=dict)
    outcomes: list[EtaOutcome] = field(default_factory=list)
    predicted: list[Eta] = field(default_factory=list)
    led: list[WorkItem] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.estimate, self.live, measured = DurationEstimate(), Live(EventBus()), Overhead()
        self.queue = JobQueue(self.estimate.cost)
        self.batcher = Batcher(self.queue, self.estimate, [self._slot(())], overhead=measured, clock=self.clock)
        self.calibration = EtaCalibration()
        self.active = ActiveJobs()
        self.eta = EtaEstimator(
            self.queue,
            self.batcher,
            self.active,
            self.live,
            estimate=self.estimate,
            overhead=measured,
            calibration=self.calibration,
            clock=self.clock,
        )
        self.scheduler = StepScheduler(lambda request: batch_of(request.key.pixels))
        self._rows: dict[int, _Row] = {}
        self._works: dict[InFlightBatch, tuple[WorkItem, ...]] = {}
        self._numbers = itertools.count(1)

    def now(self) -> float:
        """Seconds since the beginning."""
        return self.clock.now()

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

    def _slot(self, loaded: tuple[str, ...]) -> Slot:
        return Slot(SLOT, EngineState(Phase.IDLE, resident=loaded), self.slots)

    def _put(self, ask: Ask) -> None:
        request = DrawRequest("p", "p", "", ask.width, ask.height, ask.steps, 1.0, 7, ask.count, ask.model)
        job_id = next(self._numbers)
        job = Job(job_id, JobState.QUEUED, ask.person, ask.person, ask.place, request, "en", "", 0, self.clock.now())
        self.jobs[job_id] = Asked(ask, job, set(range(ask.count)))
        self.queue.put(ticket_of(job))
        waiting = self.eta.position(job_id) if self.predicting else None
        if waiting is not None and waiting.eta is not None:
            self.predicted.append(waiting.eta)

    def _hand_over(self) -> None:
        while (chosen := next(self.batcher.choose(), None)) is not None:
            lead = chosen[1]
            request = self.jobs[lead.ticket.job_id].job.request
            room = batch_of(request.width * request.height)
            works = self.batcher.take(SLOT, room, lead)
            rows: list[_Row] = []
            together = []
            for work in works:
                asked = self.jobs[work.ticket.job_id]
                if asked.begun is None:
                    asked.begun = self.now()
                run = self.active.setdefault(
                    asked.job.id, ActiveJob(asked.job, recipes_of(asked.job.id, asked.job.request))
                )
                run.painting.update(work.indexes)
                self.live.begin(asked.job.id, len(run.recipes))
                together.append((work, [run.recipes[i] for i in work.indexes]))
            batch = self.batcher.begin(SLOT, together, room)
            for work, recipes in together:
                rows += [_Row(r, batch, work.ticket.job_id, i) for r, i in zip(recipes, work.indexes, strict=True)]
            self._works[batch] = works
            self.led.append(works[0])
            for row in rows:
                number = next(self._numbers)
                self._rows[number] = row
                self.scheduler.add(RequestState(number, row.recipe, batch.lane))

    def _draw(self, team: list[RequestState]) -> None:
        key = team[0].key
        if key.model not in self.scheduler.loaded:
            self.scheduler.loaded = (key.model,)
            self.batcher.set_slots([self._slot((key.model,))])
            self.clock.advance(self.switch)
        seconds = self.step(key.pixels, len(team))
        self.clock.advance(seconds)
        for turn in team:
            row = self._rows[turn.ticket]
            turn.begun = True
            turn.steps -= 1
            row.seconds += seconds / len(team)
            done, steps = row.recipe.steps - turn.steps, row.recipe.steps
            self.live.step(row.job_id, row.index, done / steps)
            self.batcher.on_event(row.batch, Step(row.recipe.id, done, steps))
            if not turn.steps:
                self.scheduler.remove(turn.ticket)
                self._finish(self._rows.pop(turn.ticket))

    def _finish(self, row: _Row) -> None:
        recipe = row.recipe
        # Storing a picture keeps the device from its next step; the engine does not count that.
        self.clock.advance(row.seconds * self.overhead)
        self.batcher.on_event(row.batch, _image(recipe, row.seconds))
        asked = self.jobs[row.job_id]
        asked.left.discard(row.index)
        self.active[row.job_id].painting.discard(row.index)
        if not row.batch.remaining:
            self.batcher.end(row.batch)
            for work in self._works.pop(row.batch):
                if (rest := work.rest()) is not None:
                    self.queue.put_front(rest)
        if not asked.left:
            asked.done = self.now()
            del self.active[row.job_id]
            self.live.end(row.job_id)
            if (result := self.calibration.complete(row.job_id, now=self.clock.monotonic())) is not None:
                self.outcomes.append(result.outcome)
            self.on_done(asked)


def _image(recipe: Recipe, seconds: float) -> Image:
    return Image(recipe.id, b"", width=recipe.width, height=recipe.height, seconds=seconds)
