"""The engine's state as its process reports it, and the log lines that go with each change."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace

from engine.contract import READY, EngineError, EngineLost, EngineState, Phase
from engine.host import wire
from engine.host.frames import WireError
from engine.hub.progress import DownloadProgress

log = logging.getLogger(__name__)


class EngineStatus:
    """Follows the engine's process from start to start.

    Args:
        model: Name of the profile that is loaded first.

    Attributes:
        state: What ``Engine.state`` returns.
        error: Why the engine is BROKEN or closed; None if it is not.
    """

    def __init__(self, model: str) -> None:
        self.state = EngineState(Phase.STARTING, model=model)
        self.error: EngineError | None = None
        self._settled = asyncio.Event()
        self._loads = 0
        self._progress = DownloadProgress(model)

    @property
    def ready(self) -> bool:
        """Whether a request is drawn at once."""
        return self.state.phase in READY

    async def settled(self) -> None:
        """Return when the engine is ready; raises the EngineError of a BROKEN or closed one."""
        while True:
            await self._settled.wait()
            if self.error is not None:
                raise self.error
            if self.ready:
                return

    def started(self) -> None:
        """A process was started: its first load is no switch from another model."""
        self._loads = 0

    def lost(self, problem: str) -> None:
        """The process has ended and is started again."""
        self._settled.clear()
        self.state = replace(self.state, phase=Phase.LOST, problem=problem, memory=0)

    def restarted(self) -> None:
        """The process is started again now."""
        self.state = replace(self.state, restarts=self.state.restarts + 1)

    def broken(self, error: EngineError) -> None:
        """The engine can't start until somebody changes something."""
        log.error("%s", error)
        self._end(Phase.BROKEN, error)

    def closed(self, error: EngineLost) -> None:
        """The engine was closed: no process is started any more."""
        self._end(Phase.LOST, error)

    def update(self, message: wire.Message) -> None:
        """Take a message of the process in. Raises WireError for one that only the service sends."""
        match message:
            case wire.StepDone() | wire.PreviewReady() | wire.RequestFailed() | wire.Heartbeat():
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
                    log.info("%s", line)
                # When all files are here, the model is loaded, which takes a while too.
                phase = Phase.WARMING if 0 < total <= done else Phase.DOWNLOADING
                self.state = replace(self.state, phase=phase, bytes_done=done, bytes_total=total)
            case wire.Warming(model, device):
                self._settled.clear()
                self.state = replace(self.state, phase=Phase.WARMING, model=model, device=device)
            case wire.Warm():
                self._warm(message)
            case wire.Idle(memory, problem):
                if problem:
                    log.error("%s", problem)
                else:
                    log.info("there was no work for long: the device's memory is given back")
                self.state = replace(self.state, phase=Phase.IDLE, memory=memory, problem=problem)
                self._settled.set()
            case wire.Notice(text):
                log.warning("%s", text)
            case _:
                raise WireError(f"the child sent a {type(message).__name__}")

    def _warm(self, message: wire.Warm) -> None:
        self.state = replace(
            self.state,
            phase=Phase.WARM,
            precision=message.precision,
            plan=message.plan,
            revision=message.revision,
            memory=message.memory,
            problem="",
            switch_seconds=message.seconds if self._loads else 0.0,
        )
        self._loads += 1
        self._settled.set()
        log.info("%s is warm on %s in %s %s", message.model, self.state.device, message.precision, message.plan)

    def _end(self, phase: Phase, error: EngineError) -> None:
        self.error = error
        self.state = replace(self.state, phase=phase, problem=str(error), memory=0)
        self._settled.set()
