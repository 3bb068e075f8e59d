"""The service's queue, batcher and expected waits in simulated time, and the pictures that simulated devices draw of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
from engine.contract import Image, Recipe, Slot, Step
from engine.diffusion.request_state import RequestState, StepScheduler
from tests.fakes.clock import FakeClock


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
    sampler: str = ""


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
class Row:
    """A picture that a device draws.

    Attributes:
        seconds: Its share of the steps so far.
    """

    recipe: Recipe
    batch: InFlightBatch
    job_id: int
    index: int
    seconds: float = 0.0


class SimulatedDispatch:
    """Dispatch without an engine and rows: what waits, what is drawn, and what it tells the people who wait.

    Args:
        slots: The devices at the beginning.
        on_done: Called with each job that is done.
        predicting: Whether each job's wait is predicted when it comes.

    Attributes:
        jobs: All requests, by the id of their job.
        outcomes: How the predictions came true.
        predicted: The predictions.
    """

    def __init__(
        self, slots: Sequence[Slot], *, on_done: Callable[[Asked], None] = lambda _: None, predicting: bool = False
    ) -> None:
        self.clock = FakeClock(0.0)
        self.jobs: dict[int, Asked] = {}
        self.outcomes: list[EtaOutcome] = []
        self.predicted: list[Eta] = []
        self.live, self.active, self.calibration = Live(EventBus()), ActiveJobs(), EtaCalibration()
        estimate, overhead = DurationEstimate(), Overhead()
        self.queue = JobQueue(estimate.cost)
        self.batcher = Batcher(self.queue, estimate, slots, overhead=overhead, clock=self.clock)
        self._eta = EtaEstimator(
            self.queue,
            self.batcher,
            self.active,
            self.live,
            estimate=estimate,
            overhead=overhead,
            calibration=self.calibration,
            clock=self.clock,
        )
        self._on_done, self._predicting = on_done, predicting
        self._rows: dict[int, Row] = {}
        self._works: dict[InFlightBatch, tuple[WorkItem, ...]] = {}
        self._numbers = itertools.count(1)

    def now(self) -> float:
        """Seconds since the beginning."""
        return self.clock.now()

    def _put(self, ask: Ask) -> int:
        """A job comes; returns its id."""
        size = ask.width, ask.height
        request = DrawRequest("p", "p", "", *size, ask.steps, 1.0, 7, ask.count, ask.model, sampler=ask.sampler)
        job_id = next(self._numbers)
        job = Job(job_id, JobState.QUEUED, ask.person, ask.person, ask.place, request, "en", "", 0, self.clock.now())
        self.jobs[job_id] = Asked(ask, job, set(range(ask.count)))
        self.queue.put(ticket_of(job))
        waiting = self._eta.position(job_id) if self._predicting else None
        if waiting is not None and waiting.eta is not None:
            self.predicted.append(waiting.eta)
        return job_id

    def _begin(self, slot: str, works: tuple[WorkItem, ...], room: int, scheduler: StepScheduler) -> None:
        """A slot begins a batch: its pictures are with the slot's scheduler."""
        together = []
        for work in works:
            asked = self.jobs[work.ticket.job_id]
            asked.begun = self.now() if asked.begun is None else asked.begun
            run = self.active.setdefault(
                asked.job.id, ActiveJob(asked.job, recipes_of(asked.job.id, asked.job.request))
            )
            assert not run.painting.intersection(work.indexes), "a picture is with two devices"
            run.painting.update(work.indexes)
            run.slots.update(dict.fromkeys(work.indexes, slot))
            self.live.begin(asked.job.id, len(run.recipes))
            together.append((work, [run.recipes[i] for i in work.indexes]))
        batch = self.batcher.begin(slot, together, room)
        self._works[batch] = works
        for work, recipes in together:
            for recipe, index in zip(recipes, work.indexes, strict=True):
                number = next(self._numbers)
                self._rows[number] = Row(recipe, batch, work.ticket.job_id, index)
                scheduler.add(RequestState(number, recipe, batch.lane))

    def _stepped(
        self, scheduler: StepScheduler, team: Sequence[RequestState], seconds: float, drawn: Callable[[Row], None]
    ) -> None:
        """A step of these pictures is done.

        Args:
            scheduler: The device's.
            team: Pictures that shared the step.
            seconds: How long it took.
            drawn: Called with each picture that is drawn, before it is known to be.
        """
        for turn in team:
            row = self._rows[turn.ticket]
            turn.begun = True
            turn.steps -= 1
            row.seconds += seconds / len(team)
            done, steps = row.recipe.steps - turn.steps, row.recipe.steps
            self.live.step(row.job_id, row.index, done / steps)
            self.batcher.on_event(row.batch, Step(row.recipe.id, done, steps))
            if not turn.steps:
                scheduler.remove(turn.ticket)
                drawn(row)
                self._finish(self._rows.pop(turn.ticket))

    def _finish(self, row: Row) -> None:
        recipe = row.recipe
        image = Image(recipe.id, b"", width=recipe.width, height=recipe.height, seconds=row.seconds)
        self.batcher.on_event(row.batch, image)
        asked, run = self.jobs[row.job_id], self.active[row.job_id]
        asked.left.remove(row.index)
        run.painting.discard(row.index)
        # Pictures of a cancelled job remain in a batch until it ends.
        if not any(other.batch is row.batch for other in self._rows.values()):
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
            self._on_done(asked)
