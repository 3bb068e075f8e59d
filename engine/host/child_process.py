"""A child process and the messages exchanged with it: the engine's and the classifier's are started and ended here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import engine
from engine.host.child_logging import parse_line
from engine.host.frames import HEAD, Codec, WireError, lengths
from engine.host.silence import SilenceLimit

M = TypeVar("M")

log = logging.getLogger(__name__)

_CALM: Mapping[str, str] = {
    # Threads that spin while they wait starve each other as soon as anything else needs a core; threads that sleep at
    # once take twice as long for small pictures. GNU's OpenMP, which PyTorch brings on Linux, is told to spin for some
    # microseconds and then to sleep; other implementations know no such setting, and sleep (docs/adr/0008).
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "2000",
}

_WAIT_SETTINGS = frozenset({*_CALM, "KMP_BLOCKTIME"})
"""An operator who sets one of these chooses how threads wait."""

_QUIET: Mapping[str, str] = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONUTF8": "1",
}

_LAST_LINES = 8
"""Lines of a child's standard error that are kept to explain its end in the log."""


class ChildFailed(Exception):
    """A child can't be started, has ended, was silent for too long or sent something that is not a message."""


class ChildProcess(Generic[M]):
    """A running child. Its standard input and output carry frames, its standard error goes to the log.

    It watches its own input, and ends when that is closed (``engine.host.parent_pipe``): also when this process dies.

    """

    def __init__(self, process: Process, codec: Codec[M], name: str, closing: float) -> None:
        self._process = process
        self._codec = codec
        self._name = name
        self._closing = closing
        self._silence = SilenceLimit()
        self._killed = False
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._logging = asyncio.create_task(self._log_lines(), name=f"{name}-stderr")

    @classmethod
    async def start(
        cls, command: Sequence[str], environment: Mapping[str, str], codec: Codec[M], *, name: str, closing: float
    ) -> ChildProcess[M]:
        """Start a child.

        Args:
            command: Program and arguments; see ``module_command``.
            environment: Its whole environment; see ``child_environment``.
            codec: Encodes and decodes its messages.
            name: What it is, for logs and errors: ``device`` or ``classifier``.
            closing: Seconds that it may take to end by itself before it is killed.

        Raises:
            ChildFailed: It can't be started.
        """
        try:
            # A session of its own: Ctrl-C in a terminal goes to the service, which then stops the child.
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                env=dict(environment),
                start_new_session=sys.platform != "win32",
            )
        except OSError as e:
            raise ChildFailed(f"The {name}'s process can't be started: {e}.") from e
        return cls(process, codec, name, closing)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def last_lines(self) -> Sequence[str]:
        """The last lines of its standard error."""
        return tuple(self._last_lines)

    @property
    def alive(self) -> bool:
        """Whether it runs and was not killed."""
        return not self._killed and self._process.returncode is None

    def send(self, message: M) -> None:
        """Send a message; lost if the child has ended, which ``receive`` reports."""
        pipe = self._process.stdin
        if pipe is not None and not pipe.is_closing():
            pipe.write(self._codec.encode(message))

    def expect_within(self, seconds: float | None) -> None:
        """Set how long the child may be silent from now on; None: for ever. Applies to a ``receive`` that waits, too."""
        self._silence.expect_within(seconds)

    async def receive(self) -> M:
        """Return the next message.

        Raises:
            ChildFailed: It has ended, was silent for too long or sent something that is not a message; it is killed.
        """
        try:
            return await self._silence.limit(self._read())
        except TimeoutError:
            problem = "was silent for too long and was ended"
        except WireError as e:
            problem = f"sent something that is not a message ({e}) and was ended"
        except (asyncio.IncompleteReadError, ConnectionError):
            # Killing a process that is ending by itself would hide its exit status, so it gets a moment.
            problem = exit_reason(await end_process(self._process, self._closing))
        self.kill()
        raise ChildFailed(f"The {self._name}'s process {problem}.")

    async def _read(self) -> M:
        stream = self._process.stdout
        assert stream is not None
        header, payload = lengths(await stream.readexactly(HEAD.size))
        return self._codec.decode(await stream.readexactly(header), await stream.readexactly(payload))

    def kill(self) -> None:
        """Kill it at once. Call ``stop`` afterwards."""
        self._killed = True
        _kill(self._process)

    async def stop(self) -> None:
        """End it: close its input, and kill it if it has not ended in time."""
        await end_process(self._process, self._closing)
        await self._logging

    async def _log_lines(self) -> None:
        """Log what libraries print in the child, so that its pipe never fills."""
        stream = self._process.stderr
        assert stream is not None
        while chunk := await stream.read(2**16):
            for text in chunk.decode("utf-8", "replace").replace("\r", "\n").splitlines():
                if line := text.strip()[:500]:
                    self._last_lines.append(line)
                    said = parse_line(line)
                    about = {"recipes": said.recipes} if said.recipes else None
                    log.log(said.level, "%s process: %s", self._name, said.text, extra=about)


def module_command(module: str) -> tuple[str, ...]:
    """Return the command that runs a module; files in the working folder can't pass for libraries."""
    return (sys.executable, "-P", "-m", module)


def child_environment(more: Mapping[str, str], *, offline: bool, calm: bool = True) -> dict[str, str]:
    """Return a child's environment: this process's without Easel's own settings, which hold tokens, and ``more``.

    Args:
        more: Takes precedence over everything but ``PYTHONPATH``.
        offline: No hub is asked for anything.
        calm: Its threads soon sleep when they wait; False leaves that to OpenMP.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.upper().startswith("EASEL_")}
    home = str(Path(engine.__file__).resolve().parent.parent)
    path = [home, *filter(None, [inherited.get("PYTHONPATH")])]
    return {
        **(_CALM if calm and not _WAIT_SETTINGS & inherited.keys() else {}),
        **inherited,
        **_QUIET,
        **({"HF_HUB_OFFLINE": "1"} if offline else {}),
        **more,
        "PYTHONPATH": os.pathsep.join(path),
    }


async def end_process(process: Process, closing: float) -> int:
    """Close a process's input, which ends it, and kill it after ``closing`` seconds; return its exit status."""
    if process.stdin is not None:
        process.stdin.close()
    rest = asyncio.create_task(_discard(process), name="child-rest")
    ended = asyncio.create_task(process.wait(), name="child-end")
    try:
        # In a task that was cancelled, as a closing one is, asyncio.timeout raises no TimeoutError before Python 3.11.4; and
        # there, asyncio.wait_for may lose a cancellation.
        await asyncio.wait({ended}, timeout=closing)
        if not ended.done():
            _kill(process)
        return await ended
    finally:
        ended.cancel()
        await rest


async def _discard(process: Process) -> None:
    """Read what is left in the pipe: asyncio's ``wait`` returns only when every pipe has been read to its end."""
    assert process.stdout is not None
    while await process.stdout.read(2**16):
        pass


def _kill(process: Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):  # it may end by itself between the two lines
            process.kill()


def exit_reason(code: int) -> str:
    """Return what an exit status means, to follow "the process": POSIX signals are negative numbers."""
    if code >= 0:
        return f"ended by itself (exit status {code})"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was ended by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")
