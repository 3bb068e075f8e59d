"""Returns freed memory to the system while weights are quantised, so that loading takes no more than the result."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3) in glibc."""

_WHILE = 2**20
_AFTER = 32 * 2**20
"""The upper bound of glibc's dynamic threshold on 64-bit systems."""


@contextmanager
def thrifty() -> Iterator[None]:
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


def _glibc() -> Any:
    try:
        found = ctypes.CDLL("libc.so.6")
    except OSError:
        return None
    return found if hasattr(found, "mallopt") and hasattr(found, "malloc_trim") else None
