"""Runs a few things beside each other, on threads that nobody has to wait for when all is broken off."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

AT_ONCE = 4
"""Files that are fetched beside each other: one connection seldom fills the line."""

_LOOK_SECONDS = 0.2
"""Windows hears Ctrl-C only between two waits."""

_END_SECONDS, _INTERRUPT_SECONDS = 60.0, 1.0
"""How long the others may take to end after one has failed, and after Ctrl-C: a silent server is waited for no longer."""


def run_parallel(tasks: Sequence[Callable[[], None]], stop: threading.Event) -> None:
    """Run all tasks; on the first error, and on Ctrl-C, set ``stop``, which ends the others, and raise it."""
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
            except BaseException as e:  # noqa: BLE001 - raised where everybody waits
                ended.put(e)
                stop.set()
            else:
                ended.put(None)

    # Daemons: whoever presses Ctrl-C waits for no server.
    threads = [threading.Thread(target=work, name="fetch", daemon=True) for _ in tasks[:AT_ONCE]]
    for thread in threads:
        thread.start()
    left, patience = len(tasks), _INTERRUPT_SECONDS
    try:
        while left:
            with contextlib.suppress(queue.Empty):
                if (error := ended.get(timeout=_LOOK_SECONDS)) is not None:
                    patience = _END_SECONDS
                    raise error
                left -= 1
    finally:
        stop.set()
        end = time.monotonic() + patience
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
