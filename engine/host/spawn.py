"""How the device's process is started: its command, its environment, and what its end is called."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path

import engine

COMMAND: tuple[str, ...] = (sys.executable, "-P", "-m", "engine.host.child")
"""By module name, and without the working folder on the path: a file there must not pass for a library."""

_CALM: Mapping[str, str] = {
    # Threads that spin while they wait starve each other as soon as anything else wants a core; those that sleep at once
    # take twice as long for small pictures. GNU's OpenMP, which PyTorch brings on Linux, is told to spin for some
    # microseconds and then to sleep; others know no such thing, and sleep (docs/adr/0008).
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "2000",
}

_WAITS = frozenset({*_CALM, "KMP_BLOCKTIME"})
"""Whoever sets one of them wants their own way of waiting."""

_QUIET: Mapping[str, str] = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONUTF8": "1",
}


def environment(more: Mapping[str, str], *, offline: bool, calm: bool = True) -> dict[str, str]:
    """Return a child's environment: this process's without Easel's own settings (they hold tokens), and ``more``.

    Args:
        more: Takes precedence over everything but the path.
        offline: No hub is asked for anything.
        calm: Its threads soon sleep where they wait; False leaves that to OpenMP.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.upper().startswith("EASEL_")}
    home = str(Path(engine.__file__).resolve().parent.parent)
    path = [home, *filter(None, [inherited.get("PYTHONPATH")])]
    return {
        **(_CALM if calm and not _WAITS & inherited.keys() else {}),
        **inherited,
        **_QUIET,
        **({"HF_HUB_OFFLINE": "1"} if offline else {}),
        **more,
        "PYTHONPATH": os.pathsep.join(path),
    }


async def spawn(command: Sequence[str], env: Mapping[str, str]) -> Process:
    """Start the child with three pipes of its own; raises OSError when it can't be started."""
    # A session of its own: Ctrl-C in a terminal goes to the service, which then ends the child in good order.
    return await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=dict(env), start_new_session=sys.platform != "win32"
    )


async def end(process: Process, patience: float) -> int:
    """Close the child's pipe, which ends it; kill it when it has not ended after ``patience`` seconds."""
    if process.stdin is not None:
        process.stdin.close()
    rest = asyncio.create_task(_discard(process), name="engine-rest")
    try:
        async with asyncio.timeout(patience):
            return await process.wait()
    except TimeoutError:
        kill(process)
        return await process.wait()
    finally:
        await rest


async def _discard(process: Process) -> None:
    """Read what is left in the child's pipe: asyncio's ``wait`` returns only when every pipe has been read to its end."""
    assert process.stdout is not None
    while await process.stdout.read(2**16):
        pass


def kill(process: Process) -> None:
    """Kill the child at once, if it still runs."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):  # it may end by itself between the two lines
            process.kill()


def exit_reason(code: int) -> str:
    """Return what an exit status means, to follow "the device's process": signals on POSIX are negative numbers."""
    if code >= 0:
        return f"ended by itself (exit status {code})"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was ended by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")
