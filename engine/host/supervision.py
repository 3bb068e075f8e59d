"""Supervision of the device's process: limits on its silence, the time of its steps, and the state that it reports."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field, replace

from engine.contract import READY, EngineError, EngineLost, EngineState, ModelPlacement, Phase
from engine.host import wire
from engine.host.frames import WireError
from engine.hub.progress import DownloadProgress

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits, in seconds unless stated otherwise.

    Attributes:
        silence: Shortest limit on the process's silence while requests are open.
        steps: While requests are open, silence is allowed for at least this many of its steps.
        loading: Limit on its silence while a model is loaded (20 GB from a slow disk take minutes).
        first_pause: Pause before the first restart; doubled for each start that never became warm.
        longest_pause: Longest pause before a restart.
        starts: Starts in a row that may end before the engine was ever warm; then it is broken.
        closing: How long the process may take to end by itself before it is killed.
        losses: Losses within ``period`` after which the next start waits for ``rest``; 0: it never does.
        period: See ``losses``.
        rest: See ``losses``.
    """

    silence: float = 60.0
    steps: float = 20.0
    loading: float = 1800.0
    first_pause: float = 1.0
    longest_pause: float = 60.0
    starts: int = 3
    closing: float = 3.0
    losses: int = 0
    period: float = 600.0
    rest: float = 600.0


@dataclass(slots=True)
class StepTimer:
    """Seconds that a step takes on this device, by pixels and batch size."""

    _seconds: dict[tuple[int, int], float] = field(default_factory=dict)

    def record(self, pixels: int, count: int, seconds: float) -> None:
        """Record how long a step of ``count`` pictures took; slow steps weigh more."""
        before = self._seconds.get((pixels, count), seconds)
        self._seconds[pixels, count] = max(seconds, (before + seconds) / 2)

    def limit(self, pixels: int, count: int) -> float:
        """Return how long a step may take at most; 0 if nothing was recorded yet.

        Attention makes a picture of twice the pixels take up to four times as long, and twice as many pictures take up
        to twice as long; the least of several estimates is the nearest.
        """
        estimates = (s * max(1.0, pixels / p) ** 2 * max(1.0, count / n) for (p, n), s in self._seconds.items())
        return min(estimates, default=0.0)


class EngineStatus:
    """Follows the engine's process from start to start.

    Args:
        model: Name of the profile that is loaded first.
        slot: Id of the slot; empty where there is one device.

    Attributes:
        about: What log lines begin with: the slot and a colon; empty where there is one device.
        error: Why the engine is BROKEN or closed; None if it is not.
    """

    def __init__(self, model: str, slot: str = "") -> None:
        self.about = f"{slot}: " if slot else ""
        self._state = EngineState(Phase.STARTING, model=model)
        self.error: EngineError | None = None
        self._settled = asyncio.Event()
        self._changed = asyncio.Event()
        self._loads = 0
        self._progress = DownloadProgress(model)

    @property
    def state(self) -> EngineState:
        """What the engine is doing now."""
        return self._state

    @state.setter
    def state(self, state: EngineState) -> None:
        before, self._state = self._state, state
        # Callers that wait for a ready engine go on waiting while files are fetched.
        if self.ready or self.error is not None:
            self._settled.set()
        else:
            self._settled.clear()
        if (state.phase, state.without_load) != (before.phase, before.without_load):
            self._changed.set()

    @property
    def ready(self) -> bool:
        """Whether a request is drawn at once."""
        return self.state.phase in READY

    async def settled(self) -> None:
        """Return when the engine is ready; raises the EngineError of a BROKEN or closed one."""
        while not self.ready:
            await self._settled.wait()
            if self.error is not None:
                raise self.error

    async def changed(self) -> None:
        """Return after the next change of the phase or of the models on the device; those since the last call count."""
        await self._changed.wait()
        self._changed.clear()

    def models_changed(self) -> None:
        """It draws other models than before."""
        self._changed.set()

    def started(self) -> None:
        """A process was started: its first load is no switch from another model."""
        self._loads = 0

    def lost(self, problem: str) -> None:
        """The process has ended and is started again."""
        self.state = replace(self.state, phase=Phase.LOST, problem=problem, memory=0, resident=(), placements=())

    def restarted(self) -> None:
        """The process is started again now."""
        self.state = replace(self.state, restarts=self.state.restarts + 1)

    def broken(self, error: EngineError) -> None:
        """The engine can't start until somebody changes something."""
        log.error("%s%s", self.about, error)
        self._end(Phase.BROKEN, error)

    def closed(self, error: EngineLost) -> None:
        """The engine was closed: no process is started any more."""
        self._end(Phase.LOST, error)

    def update(self, message: wire.Message) -> None:
        """Take a message of the process in. Raises WireError for one that only the service sends."""
        match message:
            case (
                wire.StepDone()
                | wire.StepSize()
                | wire.PreviewReady()
                | wire.TextReady()
                | wire.RequestFailed()
                | wire.Heartbeat()
            ):
                pass
            case wire.ImageReady(_, _, memory, busy_seconds, warm_seconds, prompts_encoded):
                self.state = replace(
                    self.state,
                    memory=memory,
                    busy_seconds=busy_seconds,
                    warm_seconds=warm_seconds,
                    prompts_encoded=prompts_encoded,
                )
            case wire.Downloading(done, total):
                if line := self._progress.line(done, total, time.monotonic()):
                    log.info("%s%s", self.about, line)
                # When all files are here, the model is loaded, which takes a while too.
                phase = Phase.WARMING if 0 < total <= done else Phase.DOWNLOADING
                self.state = replace(self.state, phase=phase, bytes_done=done, bytes_total=total)
            case wire.Warming(model, device):
                self.state = replace(self.state, phase=Phase.WARMING, model=model, device=device)
            case wire.Warm():
                self._warm(message)
            case wire.Idle(memory, problem):
                if problem:
                    log.error("%s%s", self.about, problem)
                else:
                    log.info("%sthere was no work for long: the device's memory is given back", self.about)
                self.state = replace(self.state, phase=Phase.IDLE, memory=memory, problem=problem)
            case wire.Resident(models):
                self.state = replace(self.state, resident=models)
            case wire.Notice(text):
                log.warning("%s%s", self.about, text)
            case _:
                raise WireError(f"the child sent a {type(message).__name__}")

    def _warm(self, message: wire.Warm) -> None:
        self.state = replace(
            self.state,
            phase=Phase.WARM,
            model=message.model,
            precision=message.precision,
            plan=message.plan,
            revision=message.revision,
            memory=message.memory,
            placements=self._placements(message),
            problem="",
            switch_seconds=message.seconds if self._loads else 0.0,
        )
        self._loads += 1
        how = logging.INFO if message.seconds else logging.DEBUG  # another model that was on the device already
        log.log(how, "%s is warm on %s in %s %s", message.model, self.state.device, message.precision, message.plan)

    def _placements(self, message: wire.Warm) -> tuple[ModelPlacement, ...]:
        """Return the placements with that of the model that is warm now."""
        others = (one for one in self.state.placements if one.model != message.model)
        return (*others, *message.placements) if message.placements else self.state.placements

    def _end(self, phase: Phase, error: EngineError) -> None:
        self.error = error
        self.state = replace(self.state, phase=phase, problem=str(error), memory=0, resident=(), placements=())
