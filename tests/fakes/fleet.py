"""Several devices in simulated time: the service's own queue, batcher and expected waits, and the engine's order of steps.

Steps take as long as the work and the card's speed say. Nothing is drawn, and hours take seconds.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from bot.queue.fair_queue import WorkItem
from engine.contract import EngineState, Phase, Slot
from engine.diffusion.request_state import RequestState, StepScheduler
from tests.fakes.simulated_dispatch import Ask, Asked, Row, SimulatedDispatch

STEP = 1.0
"""Seconds of a step of one picture of 192x192 on a card of speed 1."""


@dataclass(slots=True)
class Card:
    """A card of the fleet.

    Attributes:
        speed: How many times as fast as a card of speed 1 it is.
        loaded: The model on it.
        models: What it can draw; empty: everything.
        plain: What it draws from a prompt alone.
        switch: Seconds that a model change takes.
        calls: Open calls that it takes.
    """

    speed: float = 1.0
    loaded: str = "demo"
    models: frozenset[str] = frozenset()
    plain: frozenset[str] = frozenset()
    switch: float = 0.0
    calls: int = 2
    lost: bool = False
    changes: int = 0
    pictures: int = 0
    idle: float = 0.0


@dataclass(slots=True)
class _Running:
    """A card's open pictures, and the step that it takes now."""

    scheduler: StepScheduler
    team: list[RequestState] = field(default_factory=list)
    began: float = 0.0
    number: int = 0
    idle_since: float | None = 0.0


class Fleet(SimulatedDispatch):
    """Cards, the queue before them, and the people who request pictures.

    Args:
        cards: The cards, by the id of their slot.
        per_step: How many pictures share a step on a card.
        gain: How much of a step's time a further picture in it takes.
        on_done: Called with each job that is done.
        predicting: Whether each job's wait is predicted when it comes.
    """

    def __init__(
        self,
        cards: Mapping[str, Card],
        *,
        per_step: int = 1,
        gain: float = 1.0,
        on_done: Callable[[Asked], None] = lambda _: None,
        predicting: bool = False,
    ) -> None:
        self.cards = dict(cards)
        super().__init__(self._slots(), on_done=on_done, predicting=predicting)
        self.handed: list[tuple[str, tuple[WorkItem, ...]]] = []
        self.lost_times: Counter[int] = Counter()
        self._per_step, self._gain = per_step, gain
        self._running = {
            name: _Running(StepScheduler(lambda _: per_step, (card.loaded,))) for name, card in self.cards.items()
        }
        self._events: list[tuple[float, int, str]] = []

    def run(
        self,
        asks: Iterable[Ask],
        *,
        until: Callable[[], bool] = lambda: False,
        events: Sequence[tuple[float, Callable[[], None]]] = (),
    ) -> None:
        """Make the requests and call ``events`` at their times; draw until nothing is left or ``until`` holds."""
        coming = sorted(asks, key=lambda ask: -ask.at)
        faults = sorted(events, key=lambda event: -event[0])
        while not until():
            while coming and coming[-1].at <= self.now():
                self._put(coming.pop())
            while faults and faults[-1][0] <= self.now():
                faults.pop()[1]()
            self._hand_over()
            for name in self.cards:
                self._step(name)
            times = [line[-1].at for line in (coming,) if line] + [line[-1][0] for line in (faults,) if line]
            if self._events:
                times.append(self._events[0][0])
            if not times:
                assert not len(self.queue), "jobs wait while every card is idle"
                return
            self.clock.advance(max(0.0, min(times) - self.now()) + 1e-9)
            while self._events and self._events[0][0] <= self.now():
                _, number, name = heapq.heappop(self._events)
                if self._running[name].number == number:
                    self._step_done(name)

    def request(self, ask: Ask) -> int:
        """Make a request now; returns its job's id."""
        return self._put(ask)

    def advance(self, seconds: float) -> None:
        """Let time pass, and draw meanwhile."""
        ends = self.now() + seconds
        while True:
            self._hand_over()
            for name in self.cards:
                self._step(name)
            if not self._events or self._events[0][0] > ends:
                self.clock.advance(max(0.0, ends - self.now()))
                return
            at, number, name = heapq.heappop(self._events)
            self.clock.advance(max(0.0, at - self.now()))
            if self._running[name].number == number:
                self._step_done(name)

    def cancel(self, job_id: int) -> None:
        """A job is cancelled: it leaves the queue, and its cards at once."""
        self.queue.remove(job_id)
        asked = self.jobs[job_id]
        asked.left.clear()
        for name, running in self._running.items():
            for request in [r for r in running.scheduler if self._rows[r.ticket].job_id == job_id]:
                row = self._rows.pop(request.ticket)
                running.scheduler.remove(request.ticket)
                running.team = [turn for turn in running.team if turn is not request]
                if not any(other.batch is row.batch for other in self._rows.values()):
                    self.batcher.end(row.batch)
                    del self._works[row.batch]
            if not running.team:
                running.number = 0
            self._step(name)
        self.active.pop(job_id, None)
        self.live.end(job_id)

    def lose(self, name: str) -> None:
        """A card is lost with all that it draws."""
        running = self._running[name]
        self.cards[name].lost = True
        running.number = 0
        running.team = []
        rows = [self._rows.pop(request.ticket) for request in running.scheduler]
        for request in list(running.scheduler):
            running.scheduler.remove(request.ticket)
        self.batcher.set_slots(self._slots())
        for batch in dict.fromkeys(row.batch for row in rows):
            self.batcher.lost(batch)
            self.batcher.end(batch)
            for work in self._works.pop(batch):
                left = tuple(row.index for row in rows if row.batch is batch and row.job_id == work.ticket.job_id)
                if left:
                    self.lost_times[work.ticket.job_id] += 1
                    self.active[work.ticket.job_id].painting.difference_update(left)
                    self.queue.put_front(WorkItem(work.ticket, left, started=True, solo=True))

    def recover(self, name: str) -> None:
        """A lost card is back."""
        self.cards[name].lost = False
        self._running[name].idle_since = self.now()
        self.batcher.set_slots(self._slots())

    def _slots(self) -> list[Slot]:
        return [
            Slot(
                name,
                EngineState(
                    Phase.LOST if card.lost else Phase.IDLE,
                    resident=() if card.lost else (card.loaded,),
                    switch_seconds=card.switch,
                ),
                card.calls,
                card.models,
                card.plain,
            )
            for name, card in self.cards.items()
        ]

    def _hand_over(self) -> None:
        while True:
            chosen = []
            for slot, lead in self.batcher.choose():
                chosen.append((slot, self.batcher.take(slot, self._per_step, lead)))
            if not chosen:
                return
            for slot, works in chosen:
                assert not self.cards[slot].lost
                self.handed.append((slot, works))
                self._begin(slot, works, self._per_step, self._running[slot].scheduler)

    def _step(self, name: str) -> None:
        """Begin the next step of a card that takes none."""
        card, running = self.cards[name], self._running[name]
        if running.team or card.lost:
            return
        team = running.scheduler.schedule()
        if not team:
            if running.idle_since is None:
                running.idle_since = self.now()
            return
        if running.idle_since is not None:
            card.idle += self.now() - running.idle_since
            running.idle_since = None
        seconds = 0.0
        key = team[0].key
        if key.model not in running.scheduler.loaded:
            running.scheduler.loaded = (key.model,)
            card.loaded = key.model
            card.changes += 1
            seconds = card.switch
            self.batcher.set_slots(self._slots())
        running.team, running.began = team, self.now() + seconds
        running.number = next(self._numbers)
        took = STEP * key.pixels / 192**2 * (1 + self._gain * (len(team) - 1)) / card.speed
        heapq.heappush(self._events, (self.now() + seconds + took, running.number, name))

    def _step_done(self, name: str) -> None:
        running, team = self._running[name], self._running[name].team
        running.team = []
        self._stepped(running.scheduler, team, self.now() - running.began, partial(self._count, self.cards[name]))

    def _count(self, card: Card, _: Row) -> None:
        card.pictures += 1
