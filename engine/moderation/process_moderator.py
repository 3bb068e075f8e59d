"""ProcessModerator: judges pictures with a classifier in a child process; UNKNOWN when there is no answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.backoff import Backoff
from engine.contract import SafetyVerdict
from engine.host.child_process import ChildFailed, ChildProcess, child_environment, module_command
from engine.moderation import folder as folders
from engine.moderation import wire

log = logging.getLogger(__name__)

COMMAND = module_command("engine.moderation.child")

_TRIES = 2
"""How often a picture is sent to a child: the first one may have ended for another reason."""


@dataclass(frozen=True, slots=True)
class ModeratorConfig:
    """How pictures are judged.

    Attributes:
        folder: A ``ViTForImageClassification`` as transformers saves it, in safetensors.
        labels: Labels that count as unsafe, in any case.
        threshold: Score from which a picture is unsafe, 0 to 1.
    """

    folder: Path
    labels: tuple[str, ...]
    threshold: float = 0.5


@dataclass(frozen=True, slots=True)
class ModeratorTimeouts:
    """Limits, in seconds.

    Attributes:
        loading: How long a child may take to load the classifier.
        answer: How long one picture may take.
        rest: Pause without a child after one that could not load.
        closing: How long a child may take to end by itself before it is killed.
    """

    loading: float = 120.0
    answer: float = 30.0
    rest: float = 60.0
    closing: float = 3.0


class ProcessModerator:
    """Keeps one child, started at the first need and again after its end. Judges one picture at a time.

    Args:
        config: How to judge.
        timeouts: Limits; tests make them short.
        command: How the child is started; tests put another program in its place.
        clock: Monotonic seconds.

    Raises:
        EngineError: The folder can't be used; one clear sentence. Reads a small file.
    """

    def __init__(
        self,
        config: ModeratorConfig,
        timeouts: ModeratorTimeouts | None = None,
        command: Sequence[str] = COMMAND,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        folders.read(config.folder, config.labels)
        self._config = config
        self._timeouts = timeouts or ModeratorTimeouts()
        self._command = command
        self._lock = asyncio.Lock()
        self._child: ChildProcess[wire.Message] | None = None
        self._backoff = Backoff(self._timeouts.rest, self._timeouts.rest, clock)
        self._closed = False
        self._warming: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the current child."""
        return None if self._child is None else self._child.pid

    async def start(self) -> None:
        """Begin to load, so that the first picture does not wait for it; returns at once."""
        if self._warming is None:
            self._warming = asyncio.create_task(self._warm(), name="moderation")

    async def aclose(self) -> None:
        """End the child; pictures that wait for a verdict get UNKNOWN."""
        self._closed = True
        if self._warming is not None:
            self._warming.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._warming
        if self._child is not None:
            self._child.kill()
        async with self._lock:
            await self._end()

    async def judge(self, data: bytes) -> SafetyVerdict:
        """Judge an encoded picture. Never raises: UNKNOWN when there is no answer."""
        async with self._lock:
            for _ in range(_TRIES):
                if self._closed or self._backoff.resting:
                    break
                try:
                    return self._verdict(await self._ask(await self._ready(), wire.Judge(data), self._timeouts.answer))
                except ChildFailed as e:
                    log.warning("%s", e)
                    await self._end()
        return SafetyVerdict.UNKNOWN

    async def _warm(self) -> None:
        async with self._lock:
            try:
                await self._ready()
            except ChildFailed as e:
                log.error("%s Pictures are covered until it can.", e)
                await self._end()

    async def _ready(self) -> ChildProcess[wire.Message]:
        """Return a child with a loaded classifier; start one if there is none, or if the last one has ended."""
        if self._child is not None and self._child.alive:
            return self._child
        await self._end()
        # A child that is ended from outside before it is ready counts as a failed start, too.
        self._backoff.fail()
        environment = child_environment({}, offline=True)
        closing = self._timeouts.closing
        child = self._child = await ChildProcess.start(
            self._command, environment, wire.CODEC, name="classifier", closing=closing
        )
        setup = wire.ClassifierSetup(str(self._config.folder.absolute()), self._config.labels)
        answer = await self._ask(child, setup, self._timeouts.loading)
        if isinstance(answer, wire.Problem):
            raise ChildFailed(answer.problem)
        self._backoff.succeed()
        log.info("the picture classifier is loaded")
        return child

    async def _ask(self, child: ChildProcess[wire.Message], message: wire.Message, seconds: float) -> wire.Message:
        """Send a message and return the answer. Raises ChildFailed."""
        child.expect_within(seconds)
        child.send(message)
        try:
            return await child.receive()
        except BaseException:
            # A child whose answer nobody has read would give it to the next question.
            child.kill()
            raise

    def _verdict(self, answer: wire.Message) -> SafetyVerdict:
        if isinstance(answer, wire.Score):
            return SafetyVerdict.UNSAFE if answer.score >= self._config.threshold else SafetyVerdict.SAFE
        if isinstance(answer, wire.Problem):
            log.warning("%s", answer.problem)
            return SafetyVerdict.UNKNOWN
        raise ChildFailed("The classifier's process sent an unexpected message.")

    async def _end(self) -> None:
        """End the child at once, if there is one: it holds nothing that could be lost."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            await child.stop()
