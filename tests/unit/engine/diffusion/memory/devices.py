"""Devices for tests of the plan: cards by their size, processors by their memory."""

from __future__ import annotations

from engine.diffusion.memory.types import GIB, Device


def card(
    gib: float,
    *,
    host: float = 24,
    bf16: bool = True,
    fp8: bool = True,
    stream: bool = True,
    kind: str = "cuda",
    ram: float | None = None,
) -> Device:
    """Return a card with ``gib`` GiB free, in a machine with ``host`` GiB of memory, ``ram`` of them without swap."""
    free = round(gib * GIB)
    return Device(
        kind, "a card", free, free, round(host * GIB), round((host if ram is None else ram) * GIB), bf16, fp8, stream
    )


def processor(gib: float, *, bf16: bool = False) -> Device:
    """Return a processor with ``gib`` GiB of free memory."""
    free = round(gib * GIB)
    return Device("cpu", "a processor", free, free, free, free, bf16, fp8=True, stream=False)
