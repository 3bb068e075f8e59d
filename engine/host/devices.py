"""The devices of one machine: which ones ``EASEL_DEVICE`` means, and what the process of each may see and use."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from engine.contract import EngineConfig

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable of CUDA: the cards that a process sees, by number, UUID or MIG instance."""

_NAME = re.compile(r"[0-9]{1,4}|(GPU|MIG)-[0-9A-Za-z/-]+")

_THREADS = "OMP_NUM_THREADS"

_PROC = Path("/proc/driver/nvidia/gpus")
"""Folder in which NVIDIA's driver for Linux has a folder for each card."""

_LIBRARY = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"

OpenLibrary = Callable[[str], Any]
"""Opens a shared library by name, as ``ctypes.CDLL``; raises OSError if there is none."""


COMFY = "comfy:"
"""Begins each value of ``EASEL_DEVICE`` that is the URL of a ComfyUI server."""


def local(devices: Sequence[str]) -> tuple[str, ...]:
    """Return the devices of this machine among the values of ``EASEL_DEVICE``."""
    return tuple(each for each in devices if not each.startswith(COMFY))


def servers(devices: Sequence[str]) -> tuple[str, ...]:
    """Return the URLs of the ComfyUI servers among them."""
    return tuple(each.removeprefix(COMFY) for each in devices if each.startswith(COMFY))


def server_name(url: str) -> str:
    """Return the id of a ComfyUI server's slot: ``comfy:10.0.0.5:8188``."""
    return COMFY + url.partition("://")[2]


def slot_names(devices: Sequence[str]) -> tuple[str, ...]:
    """Return the id of each slot that ``EASEL_DEVICE`` means; nothing for a single device, which needs no id.

    Args:
        devices: Its values, without ComfyUI servers; ``auto`` alone is every NVIDIA card that PyTorch can use.
    """
    if tuple(devices) == ("auto",):
        cards = _count_visible() if _torch_has_cuda() else 0
        return tuple(f"cuda:{number}" for number in range(cards)) if cards > 1 else ()
    if len(devices) < 2:
        return ()
    return tuple(f"cpu:{number}" for number in range(len(devices))) if devices[0] == "cpu" else tuple(devices)


def config_of_each(config: EngineConfig, devices: Sequence[str]) -> tuple[EngineConfig, ...]:
    """Return an engine's configuration for each device. Blocking, some milliseconds.

    Args:
        config: The configuration for a single device.
        devices: The values of ``EASEL_DEVICE``.
    """
    names = slot_names(devices)
    return tuple(
        replace(config, device="cpu" if name.startswith("cpu:") else name, slot=name, devices=len(names))
        for name in names
    ) or (config,)


def seen_alone(config: EngineConfig) -> EngineConfig:
    """Return a configuration whose process sees its own card alone, or uses its share of the CPU's cores.

    Each process that touches a card takes some hundred MB of it, also one that draws on another card.
    """
    more: dict[str, str] = {}
    if config.device.startswith("cuda:"):
        card = _visible_name(int(config.device.removeprefix("cuda:")))
        if card is not None:
            config = replace(config, device="cuda", slot=config.slot or config.device)
            more = {VISIBLE: card}
    elif config.device == "cpu" and config.devices > 1 and _THREADS not in os.environ:
        more = {_THREADS: str(max(1, _cores() // config.devices))}
    return replace(config, environment={**config.environment, **more})


def _visible_name(number: int) -> str | None:
    """Return what ``CUDA_VISIBLE_DEVICES`` has to be so that one card is seen; None where this process sees no such card."""
    given = os.environ.get(VISIBLE)
    if given is None:
        return str(number)
    names = _listed(given)
    return names[number] if number < len(names) else None


def _count_visible() -> int:
    """Return how many cards of this machine a process of this environment sees."""
    count, given = count_cards(), os.environ.get(VISIBLE)
    if given is None:
        return count
    return len(list(takewhile(lambda name: not name.isdecimal() or int(name) < count, _listed(given))))


def _listed(given: str) -> tuple[str, ...]:
    """Return the cards in a value of ``CUDA_VISIBLE_DEVICES``: it ends where there is no name, and none may be repeated."""
    named = (each.strip() for each in given.split(","))
    found = tuple(takewhile(lambda name: _NAME.fullmatch(name) is not None, named))
    return found if len(set(found)) == len(found) else ()


def count_cards(proc: Path = _PROC, open_library: OpenLibrary = ctypes.CDLL) -> int:
    """Return how many NVIDIA cards the driver knows; 0 without a driver. Blocking, some milliseconds."""
    with contextlib.suppress(OSError):
        # Asking the driver's library may wake each card, which takes a second where nothing keeps it awake.
        if (count := len(list(proc.iterdir()))) < 2:
            return count
    try:
        library = open_library(_LIBRARY)
        if library.nvmlInit_v2() != 0:
            return 0
    except (OSError, AttributeError):
        return 0
    try:
        found = ctypes.c_uint(0)
        return found.value if library.nvmlDeviceGetCount_v2(ctypes.byref(found)) == 0 else 0
    finally:
        library.nvmlShutdown()


def _torch_has_cuda() -> bool:
    """Whether the PyTorch that is installed is one for NVIDIA cards; it is not imported."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    libraries = Path(spec.origin).parent / "lib"
    return any((libraries / name).exists() for name in ("libtorch_cuda.so", "torch_cuda.dll"))


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1
