"""What the system tells of this machine: memory, load, temperatures, and graphics cards by their driver's own tool."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import shutil
import time
from collections.abc import Sequence

import psutil

from bot.owner.ports import GpuFacts, MachineFacts, Sensor

KEPT_SECONDS = 4.0
"""Seconds for which an answer is kept: several pages may ask."""

TOOL_SECONDS = 3.0
"""Longest wait for the driver's tool."""

MOST_SENSORS = 8

_FIELDS = ("name", "memory.used", "memory.total", "utilization.gpu", "temperature.gpu", "power.draw")
_MIB = 2**20


class LocalMachine:
    """Implements ``bot.owner.ports.Machine`` for this machine. What can't be found out is left out."""

    def __init__(self) -> None:
        self._tool = shutil.which("nvidia-smi")
        self._found: MachineFacts | None = None
        self._at = 0.0
        self._turn = asyncio.Lock()

    async def facts(self) -> MachineFacts:
        """See Machine."""
        async with self._turn:
            if self._found is None or time.monotonic() - self._at > KEPT_SECONDS:
                gpus = await self._gpus()
                self._found = await asyncio.to_thread(_facts, gpus)
                self._at = time.monotonic()
            return self._found

    async def _gpus(self) -> Sequence[GpuFacts]:
        """Ask NVIDIA's tool; nothing where there is none, or where it does not answer."""
        if self._tool is None:
            return ()
        process = None
        try:
            async with asyncio.timeout(TOOL_SECONDS):
                process = await asyncio.create_subprocess_exec(
                    self._tool,
                    f"--query-gpu={','.join(_FIELDS)}",
                    "--format=csv,noheader,nounits",
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.DEVNULL,
                )
                said, _ = await process.communicate()
        except (OSError, TimeoutError):
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            return ()
        return [
            gpu_of(line) for line in said.decode(errors="replace").splitlines() if line.count(",") >= len(_FIELDS) - 1
        ]


def gpu_of(line: str) -> GpuFacts:
    """Return the facts of one line of NVIDIA's tool: name, MiB used, MiB, percent, degrees Celsius, watts."""
    name, *values = (part.strip() for part in line.rsplit(",", len(_FIELDS) - 1))
    used, total, busy, celsius, watts = (_number(value) for value in values)
    return GpuFacts(
        name,
        None if used is None else int(used * _MIB),
        None if total is None else int(total * _MIB),
        None if busy is None else busy / 100,
        celsius,
        watts,
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # such as [N/A]
        return None


def _facts(gpus: Sequence[GpuFacts]) -> MachineFacts:
    memory = psutil.virtual_memory()
    load = None
    with contextlib.suppress(OSError, AttributeError):
        load = os.getloadavg()[0]
    return MachineFacts(
        system=f"{platform.system()} {platform.release()}, {platform.machine()}",
        python=platform.python_version(),
        cpus=_cpus(),
        load=load,
        memory_used=memory.total - memory.available,
        memory_total=memory.total,
        service=psutil.Process().memory_info().rss,
        sensors=_sensors(),
        gpus=gpus,
    )


def _cpus() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1


def _sensors() -> tuple[Sensor, ...]:
    """Return the system's temperatures, the hottest of each chip."""
    read = getattr(psutil, "sensors_temperatures", None)
    try:
        found = read() if read is not None else {}
    except (OSError, ValueError):
        return ()
    hottest = [
        Sensor(chip, max(one.current for one in readings)) for chip, readings in sorted(found.items()) if readings
    ]
    return tuple(hottest[:MOST_SENSORS])
