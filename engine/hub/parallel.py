"""Runs a few tasks in parallel, on daemon threads that a cancelled caller does not wait for."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

AT_ONCE = 4
"""Files that are fetched in parallel: one connection seldom uses the whole bandwidth."""

_POLL_SECONDS = 0.2
"""Windows hears Ctrl-C only between two waits."""

_END_SECONDS, _INTERRUPT_SECONDS = 60.0, 1.0
"""How long the other tasks may take to end after a failure, and after Ctrl-C: a server may be silent."""


def run_parallel(tasks: Sequence[Callable[[], None]], stop: threading.Event) -> None:
    """Run all tasks. On the first error, and on Ctrl-C, set ``stop``, which ends the other tasks, and raise it."""
    waiting = deque(tasks)
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def work() -> None:
        while waiting and not stop.is_set():
            try:
                task = waiting.popleft()
            except IndexError:  # another thread was quicker
                return
            try:
                task()
            except BaseException as e:  # noqa: BLE001 - raised on the caller's thread
                ended.put(e)
                stop.set()
            else:
                ended.put(None)

    # Daemons: after Ctrl-C the process does not wait for a server.
    threads = [threading.Thread(target=work, name="fetch", daemon=True) for _ in tasks[:AT_ONCE]]
    for thread in threads:
        thread.start()
    left, timeout = len(tasks), _INTERRUPT_SECONDS
    try:
        while left:
            with contextlib.suppress(queue.Empty):
                if (error := ended.get(timeout=_POLL_SECONDS)) is not None:
                    timeout = _END_SECONDS
                    raise error
                left -= 1
    finally:
        stop.set()
        end = time.monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
