"""Keeps the device's process alive: starts it, hears it, notices its death or its silence, starts it again."""

from __future__ import annotations

import asyncio
import logging
import time
from asyncio.subprocess import Process
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from engine.contract import ERRORS, READY, EngineError, EngineLost, EngineState, Phase
from engine.host import wire
from engine.host.child_logging import level_of
from engine.host.spawn import end, exit_reason, kill, spawn
from engine.host.timeouts import StepTimer, Timeouts
from engine.hub.progress import DownloadProgress

log = logging.getLogger(__name__)

_LAST_WORDS = 8
"""Lines of the child's standard error that are kept to explain its death in the log."""


class Supervisor:
    """One child at a time, for as long as ``run`` runs.

    Args:
        model: Name of the profile, for the state.
        setup: What each child is told first.
        command: How it is started.
        environment: Its whole environment.
        patience: Limits of the supervision.
        begin: Called when a child has been started and listens.
        hear: Called with each message about recipes.
        lose: Called when the child has ended or the engine is broken, with the reason.
        load: Pixels of the largest picture that is open, and how many are; zeros when there is no work.
    """

    def __init__(
        self,
        *,
        model: str,
        setup: wire.Setup,
        command: Sequence[str],
        environment: Mapping[str, str],
        patience: Timeouts,
        begin: Callable[[], None],
        hear: Callable[[wire.StepDone | wire.PreviewReady | wire.ImageReady | wire.RecipeFailed], None],
        lose: Callable[[EngineError], None],
        load: Callable[[], tuple[int, int]],
    ) -> None:
        self._setup = setup
        self._command = command
        self._environment = environment
        self._patience = patience
        self._begin = begin
        self._hear = hear
        self._lose = lose
        self._load = load
        self._process: Process | None = None
        self._timeout: asyncio.Timeout | None = None
        self._settled = asyncio.Event()
        self._error: EngineError | None = None
        self._last_words: deque[str] = deque(maxlen=_LAST_WORDS)
        self._loads = 0
        self._progress = DownloadProgress(model)
        self.pace = StepTimer()
        self.state = EngineState(Phase.STARTING, model=model)

    @property
    def pid(self) -> int | None:
        """Process id of the child that runs now."""
        return None if self._process is None else self._process.pid

    @property
    def error(self) -> EngineError | None:
        """Why the engine is BROKEN or closed; None when it is not."""
        return self._error

    def send(self, message: wire.Message) -> None:
        """Say something to the child; lost when there is none, for the next one is told all that is open."""
        pipe = None if self._process is None else self._process.stdin
        if pipe is not None and not pipe.is_closing():
            pipe.write(wire.encode(message))

    def watch(self) -> None:
        """Set anew how long the child may be silent; called on each message and whenever work is opened or closed."""
        if self._timeout is None or self._timeout.expired():
            return
        if self.state.phase not in READY:
            limit: float | None = self._patience.loading
        else:
            pixels, count = self._load()
            steps = self._patience.steps * self.pace.step(pixels, count)
            limit = max(self._patience.silence, steps) if count else None
        self._timeout.reschedule(None if limit is None else asyncio.get_running_loop().time() + limit)

    async def settled(self) -> None:
        """Return once the engine is WARM; raises the EngineError of a BROKEN or closed one."""
        while True:
            await self._settled.wait()
            if self._error is not None:
                raise self._error
            if self.state.phase in READY:
                return

    async def run(self) -> None:
        """Start children until the engine is broken; cancel it to end the child."""
        failures = 0
        was_warm = False
        while True:
            problem = await self._one()
            warmed = self.state.phase in READY
            was_warm |= warmed
            failures = 0 if warmed else failures + 1
            if isinstance(problem, wire.Broken) and not problem.passing:
                self._break(ERRORS.get(problem.code, EngineError)(problem.problem))
                return
            text = problem.problem if isinstance(problem, wire.Broken) else problem
            if not was_warm and failures >= self._patience.starts and isinstance(problem, str):
                self._break(EngineError(f"The model can't be loaded: {text} Tried {failures} times; see the log."))
                return
            pause = self._patience.pause(max(0, failures - 1))
            log.warning("%s Starting it again in %.1f s. Its last words: %s", text, pause, " / ".join(self._last_words))
            self._settled.clear()
            self.state = replace(self.state, phase=Phase.LOST, problem=text, memory=0)
            self._lose(EngineLost(text))
            await asyncio.sleep(pause)
            self.state = replace(self.state, restarts=self.state.restarts + 1)

    def close(self, error: EngineLost) -> None:
        """Note that there will be no child any more."""
        self._error = error
        self.state = replace(self.state, phase=Phase.LOST, problem=str(error), memory=0)
        self._settled.set()

    def _break(self, error: EngineError) -> None:
        log.error("%s", error)
        self._error = error
        self.state = replace(self.state, phase=Phase.BROKEN, problem=str(error), memory=0)
        self._settled.set()
        self._lose(error)

    async def _one(self) -> wire.Broken | str:
        """Run one child to its end and return why it ended."""
        self._last_words.clear()
        self._loads = 0
        try:
            process = await spawn(self._command, self._environment)
        except OSError as e:
            return f"The device's process can't be started: {e}."
        self._process = process
        words = asyncio.create_task(self._listen_to_words(process), name="engine-words")
        try:
            self.send(self._setup)
            self._begin()
            return await self._read(process)
        finally:
            self._process = None
            await end(process, self._patience.closing)
            await words

    async def _read(self, process: Process) -> wire.Broken | str:
        assert process.stdout is not None
        try:
            async with asyncio.timeout(self._patience.loading) as self._timeout:
                while True:
                    header, payload = wire.lengths(await process.stdout.readexactly(wire.HEAD.size))
                    message = wire.decode(
                        await process.stdout.readexactly(header), await process.stdout.readexactly(payload)
                    )
                    if isinstance(message, wire.Broken):
                        return message
                    self._take(message)
                    self.watch()
        except TimeoutError:
            kill(process)
            return "The device's process was silent for too long and was ended."
        except wire.WireError as e:
            kill(process)
            return f"The device's process said something that makes no sense ({e}) and was ended."
        except asyncio.IncompleteReadError:
            # Its pipe has ended, so it is dying or of no use. Killing a process that has just ended by itself would
            # take its exit status from under asyncio, so it gets a moment.
            return f"The device's process {exit_reason(await end(process, self._patience.closing))}."
        finally:
            self._timeout = None

    def _take(self, message: wire.Message) -> None:
        match message:
            case wire.StepDone() | wire.PreviewReady() | wire.ImageReady() | wire.RecipeFailed():
                if isinstance(message, wire.ImageReady):
                    self.state = replace(
                        self.state,
                        memory=message.memory,
                        busy_seconds=message.busy,
                        warm_seconds=message.clock,
                        prompts_encoded=message.encoded,
                    )
                self._hear(message)
            case wire.Heartbeat():
                pass  # that it is said is all there is to it
            case wire.Downloading(done, total):
                if line := self._progress.line(done, total, time.monotonic()):
                    log.info("%s", line)
                # Once all is here it is loaded, which takes a while too.
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
                raise wire.WireError(f"the child sent a {type(message).__name__}")

    def _warm(self, message: wire.Warm) -> None:
        state = self.state
        self.state = replace(
            state,
            phase=Phase.WARM,
            precision=message.precision,
            plan=message.plan,
            revision=message.revision,
            memory=message.memory,
            problem="",
            switch_seconds=message.seconds if self._loads else 0.0,
        )
        self._loads += 1
        if message.pixels:
            self.pace.saw(message.pixels, 1, message.step_seconds)
        self._settled.set()
        log.info("%s is warm on %s in %s %s", message.model, state.device, message.precision, message.plan)

    async def _listen_to_words(self, process: Process) -> None:
        """Log what libraries print in the child; none of it is part of the conversation."""
        assert process.stderr is not None
        while chunk := await process.stderr.read(2**16):
            for line in chunk.decode("utf-8", "replace").replace("\r", "\n").splitlines():
                if said := line.strip()[:500]:
                    self._last_words.append(said)
                    log.log(level_of(said), "device process: %s", said)
