"""Imports of large libraries in a process that has just begun, and the garbage collector of one that runs for long."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_YOUNG, _MIDDLE, _OLD = 20_000, 20, 20
"""Thresholds of the garbage collector's generations; see ``gc.set_threshold``. Python's own are 700, 10 and 10."""


def collect_rarely() -> None:
    """Have the garbage collector ignore what there is now, and look at new objects less often.

    In the service, most objects live either for a moment or for as long as a job waits. By Python's own thresholds, the
    collector walks through all that waits every few seconds: with a thousand jobs, pauses of more than 0.1 s. Not for
    the processes of devices: there, a cycle that is found late may hold a tensor.
    """
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)


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
