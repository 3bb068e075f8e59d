"""ProcessModerator: judges pictures in a child process, and says so when it can't."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.contract import SafetyVerdict
from engine.host.spawn import end, environment, exit_reason, kill, spawn
from engine.host.wire import HEAD, WireError, lengths
from engine.moderation import folder as folders
from engine.moderation import wire

log = logging.getLogger(__name__)

COMMAND: tuple[str, ...] = (sys.executable, "-P", "-m", "engine.moderation.child")
"""By module name, and without the working folder on the path: a file there must not pass for a library."""

_TRIES = 2
"""So often one picture is shown to a child: the first may have died of something else."""


@dataclass(frozen=True, slots=True)
class ModeratorConfig:
    """What to judge by.

    Attributes:
        folder: A ``ViTForImageClassification`` as transformers saves it, in safetensors.
        labels: Those that count as unsafe, in any case.
        threshold: From this on, 0 to 1, a picture is unsafe.
    """

    folder: Path
    labels: tuple[str, ...]
    threshold: float = 0.5


@dataclass(frozen=True, slots=True)
class ModeratorTimeouts:
    """Limits, in seconds.

    Attributes:
        loading: How long a child may take until it is ready.
        answer: How long one picture may take.
        rest: After a child that never became ready, nobody waits for another one for so long.
        closing: How long a child may take to end by itself before it is killed.
    """

    loading: float = 120.0
    answer: float = 30.0
    rest: float = 60.0
    closing: float = 3.0


class _Lost(Exception):
    """The child can't answer any more."""


@dataclass(slots=True)
class _Child:
    """A child, and the task that reads what its libraries print.

    Attributes:
        broken: Somebody stopped waiting in the middle of a conversation: the next one would hear the answer to another.
    """

    process: Process
    words: asyncio.Task[None]
    broken: bool = False


class ProcessModerator:
    """One child, started with the first need of it and again after its death. One picture after the other.

    Args:
        config: What to judge by.
        patience: Limits; tests make them short.
        command: How the child is started; tests put another program in its place.
        clock: Monotonic seconds.

    Raises:
        EngineError: The folder can't be used; one clear sentence. Reads a small file.
    """

    def __init__(
        self,
        config: ModeratorConfig,
        patience: ModeratorTimeouts | None = None,
        command: Sequence[str] = COMMAND,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        folders.read(config.folder, config.labels)
        self._config = config
        self._patience = patience or ModeratorTimeouts()
        self._command = command
        self._clock = clock
        self._turn = asyncio.Lock()
        self._child: _Child | None = None
        self._rests_until = float("-inf")
        self._closed = False
        self._warming: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the child that is there now."""
        return None if self._child is None else self._child.process.pid

    async def start(self) -> None:
        """Begin to load, so that the first picture does not wait for it; returns at once."""
        if self._warming is None:
            self._warming = asyncio.create_task(self._warm(), name="moderation")

    async def aclose(self) -> None:
        """End the child; whoever waits for a verdict hears that there is none."""
        self._closed = True
        if self._warming is not None:
            self._warming.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._warming
        if self._child is not None:
            kill(self._child.process)
        async with self._turn:
            await self._end()

    async def judge(self, data: bytes) -> SafetyVerdict:
        """Judge an encoded picture. Never raises: UNKNOWN when there is no answer."""
        async with self._turn:
            for _ in range(_TRIES):
                if self._closed or self._clock() < self._rests_until:
                    break
                try:
                    child = await self._ready()
                    return await self._ask(child, data)
                except _Lost as e:
                    log.warning("%s", e)
                    await self._end()
                except BaseException:
                    if self._child is not None:
                        self._child.broken = True
                    raise
        return SafetyVerdict.UNKNOWN

    async def _warm(self) -> None:
        async with self._turn:
            try:
                await self._ready()
            except _Lost as e:
                log.error("%s Pictures are covered until it can.", e)
                await self._end()
            except BaseException:
                if self._child is not None:
                    self._child.broken = True
                raise

    async def _ready(self) -> _Child:
        """Return a child that is loaded; starts one where there is none, or where the last one has died meanwhile."""
        child = self._child
        if child is not None and not child.broken and child.process.returncode is None:
            return child
        await self._end()
        # Until it is ready it counts as one that never was: also when it is ended from outside.
        self._rests_until = self._clock() + self._patience.rest
        try:
            process = await spawn(self._command, environment({}, offline=True))
        except OSError as e:
            raise _Lost(f"The classifier's process can't be started: {e}.") from e
        child = self._child = _Child(process, asyncio.create_task(_drain(process), name="moderation-words"))
        setup = wire.ClassifierSetup(str(self._config.folder.absolute()), self._config.labels)
        answer = await self._say(child, setup, self._patience.loading)
        if isinstance(answer, wire.Problem):
            raise _Lost(answer.problem)
        self._rests_until = float("-inf")
        log.info("the picture classifier is loaded")
        return child

    async def _ask(self, child: _Child, data: bytes) -> SafetyVerdict:
        answer = await self._say(child, wire.Judge(data), self._patience.answer)
        if isinstance(answer, wire.Score):
            return SafetyVerdict.UNSAFE if answer.score >= self._config.threshold else SafetyVerdict.SAFE
        if isinstance(answer, wire.Problem):
            log.warning("%s", answer.problem)
            return SafetyVerdict.UNKNOWN
        raise _Lost("The classifier's process said something that makes no sense.")

    async def _say(self, child: _Child, message: wire.Message, seconds: float) -> wire.Message:
        """Send a message and return the answer. Raises _Lost."""
        process = child.process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(seconds):
                process.stdin.write(wire.encode(message))
                await process.stdin.drain()
                header, payload = lengths(await process.stdout.readexactly(HEAD.size))
                return wire.decode(await process.stdout.readexactly(header), await process.stdout.readexactly(payload))
        except TimeoutError:
            raise _Lost(f"The classifier's process was silent for {seconds:g} s and was ended.") from None
        except WireError as e:
            raise _Lost(f"The classifier's process said something that makes no sense: {e}.") from e
        except (asyncio.IncompleteReadError, ConnectionError) as e:
            raise _Lost(f"The classifier's process {exit_reason(await end(process, self._patience.closing))}.") from e

    async def _end(self) -> None:
        """End the child, if there is one: at once, since it holds nothing that could be lost."""
        child, self._child = self._child, None
        if child is None:
            return
        kill(child.process)
        await end(child.process, self._patience.closing)
        await child.words


async def _drain(process: Process) -> None:
    """Log what libraries print in the child, so that its pipe never fills; none of it is part of the conversation."""
    assert process.stderr is not None
    while chunk := await process.stderr.read(2**16):
        log.debug("classifier process: %s", chunk.decode("utf-8", "replace").strip()[:500])
