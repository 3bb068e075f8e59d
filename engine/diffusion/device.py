"""Chooses the device, and measures its memory and its busy time."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch


class NoDevice(Exception):
    """The requested device is not available; the message is one sentence that says what to do."""


def choose(requested: str, name: str = "") -> torch.device:
    """Return a device.

    Args:
        requested: ``auto``, ``cuda``, ``cuda:N``, ``mps`` or ``cpu``.
        name: What ``EASEL_DEVICE`` calls it, where this process sees that card alone.

    Raises:
        NoDevice: There is no such device.
    """
    if requested == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(requested)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise NoDevice(
                f"EASEL_DEVICE asks for {name or requested}, but PyTorch sees no such card here: set it to auto or cpu, "
                "or install a PyTorch with CUDA and the card's driver."
            )
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise NoDevice("EASEL_DEVICE is mps, but PyTorch sees no Apple GPU here: set it to auto or cpu.")
    return device


def title(device: torch.device, name: str = "") -> str:
    """Return the device's name for people; it begins with ``name``, else with PyTorch's."""
    return f"{name or device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else name or str(device)


def memory(device: torch.device) -> int:
    """Return the bytes that this process holds on the device, in main memory for a CPU; 0 where unknown."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0  # not Linux


def release(device: torch.device) -> None:
    """Free the memory that a failed batch left behind."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


@dataclass(slots=True)
class Elapsed:
    """Seconds that a block of work took."""

    seconds: float = 0.0


@dataclass(slots=True)
class BusyTimer:
    """Measures the device's busy time.

    Attributes:
        seconds: Total busy time.
        since: Start of the measurement, by the monotonic clock.
    """

    seconds: float = 0.0
    since: float = field(default_factory=time.monotonic)

    def restart(self) -> None:
        """Restart the measurement."""
        self.seconds, self.since = 0.0, time.monotonic()

    @contextmanager
    def measure(self) -> Iterator[Elapsed]:
        """Add the block's time."""
        elapsed, began = Elapsed(), time.monotonic()
        try:
            yield elapsed
        finally:
            elapsed.seconds = time.monotonic() - began
            self.seconds += elapsed.seconds


class StepClock:
    """Times steps. The host is one step ahead of a GPU, so that the GPU never waits for the host.

    A GPU works through a queue, and a host's clock would measure how long it takes to fill it. Events in that queue tell
    what a step took. Before a step returns, the host waits for the step before it; otherwise it would report steps, and
    choose pictures for steps, long before the GPU is there.

    Args:
        device: The device that draws.
        make: Makes what is used of a ``torch.Event`` with timing; None: the device's own. A CPU needs none.
    """

    def __init__(self, device: torch.device, make: Callable[[], Any] | None = None) -> None:
        if make is None and device.type in ("cuda", "mps"):
            make = partial(torch.Event, device, enable_timing=True)
        self._make = make
        self._queued: tuple[Any, Any, Callable[[float], None]] | None = None

    def run(self, step: Callable[[], None], timed: Callable[[float], None]) -> None:
        """Run a step, and report the seconds that it took, or on a GPU those of the step before, to its ``timed``."""
        if self._make is None:
            began = time.monotonic()
            step()
            timed(time.monotonic() - began)
            return
        begin, end = self._make(), self._make()
        begin.record()
        step()
        end.record()
        before, self._queued = self._queued, (begin, end, timed)
        if before is not None:
            begin, end, timed = before
            end.synchronize()
            timed(begin.elapsed_time(end) / 1000)
