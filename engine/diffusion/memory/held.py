"""Measures the memory that a loaded pipeline holds, by device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import psutil
import torch

from engine.diffusion.memory.types import CPU


def held(pipe: Any) -> Mapping[str, int]:
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
