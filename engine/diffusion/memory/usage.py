"""Measures the memory of loaded weights, and returns freed memory to the system while weights are quantised."""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any

import psutil
import torch

from engine.diffusion.memory.types import CPU

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3) in glibc."""

_WHILE = 2**20
_AFTER = 32 * 2**20
"""The upper bound of glibc's dynamic threshold on 64-bit systems."""


def bytes_by_device(pipe: Any) -> Mapping[str, int]:
    """Return the bytes of a pipeline's weights by type of device (``cpu``, ``cuda``, ``mps``).

    Weights that are memory-mapped from their files do not count, since the system can reclaim that memory.
    """
    found: Counter[str] = Counter()
    seen: set[int] = set()
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            for tensor in chain(part.parameters(), part.buffers()):
                if id(tensor) not in seen:
                    seen.add(id(tensor))
                    for plain in _plain(tensor):
                        found[plain.device.type] += plain.nbytes
    if set(found) == {CPU}:
        found[CPU] = min(found[CPU], _private())
    return found


@contextmanager
def trimming() -> Iterator[None]:
    """While inside, freed blocks of 1 MiB and more are returned to the system at once.

    Quantising frees a large tensor and keeps a small one, layer after layer. glibc would keep the freed blocks, with the
    small tensors between them: three times the memory of the result. Does nothing without glibc.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(_MMAP_THRESHOLD, _WHILE)
    try:
        yield
    finally:
        # Drawing reuses its blocks: each fresh page would cost time.
        libc.mallopt(_MMAP_THRESHOLD, _AFTER)
        libc.mallopt(_TRIM_THRESHOLD, 2 * _AFTER)
        libc.malloc_trim(0)


def _plain(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the plain tensors inside a quantised one."""
    inner = getattr(tensor, "__tensor_flatten__", None)
    if inner is None:
        yield tensor
        return
    for name in inner()[0]:
        yield from _plain(getattr(tensor, name))


def _private() -> int:
    """Return the bytes of this process's private, anonymous memory; all of its memory where that is unknown."""
    memory = psutil.Process().memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))


def _glibc() -> Any:
    try:
        found = ctypes.CDLL("libc.so.6")
    except OSError:
        return None
    return found if hasattr(found, "mallopt") and hasattr(found, "malloc_trim") else None
