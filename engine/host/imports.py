"""Imports of large libraries in a process that has just begun."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def large_imports() -> Iterator[None]:
    """Import within this block what stays for the life of the process, such as torch, diffusers and transformers.

    The garbage collector does not run meanwhile, which would take a quarter of the time. It ignores afterwards what the
    block has made, also at the end of the process.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
