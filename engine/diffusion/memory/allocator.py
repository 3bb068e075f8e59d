"""Gives main memory back while weights are being made smaller, so that loading takes no more than they take afterwards."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""glibc's numbers for mallopt(3)."""

_WHILE = 2**20
_AFTER = 32 * 2**20
"""Where glibc's own adjusting ends on 64 bits."""


@contextmanager
def thrifty() -> Iterator[None]:
    """While inside, memory from 1 MiB upward goes back to the system as soon as it is free.

    Quantising makes a large tensor and keeps a small one, again and again. glibc would keep the large ones' places for
    later, with the small ones between them: three times as much as is left in the end. Does nothing without glibc.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(_MMAP_THRESHOLD, _WHILE)
    try:
        yield
    finally:
        # Drawing wants its places kept: each fresh page costs time.
        libc.mallopt(_MMAP_THRESHOLD, _AFTER)
        libc.mallopt(_TRIM_THRESHOLD, 2 * _AFTER)
        libc.malloc_trim(0)


def _glibc() -> Any:
    try:
        found = ctypes.CDLL("libc.so.6")
    except OSError:
        return None
    return found if hasattr(found, "mallopt") and hasattr(found, "malloc_trim") else None
