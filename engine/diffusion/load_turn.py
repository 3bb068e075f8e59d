"""Lets the processes of several devices load models one after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

NAME = "loading.lock"

_WAIT_SECONDS = 2.0
"""Seconds between two reports of a process that waits."""

log = logging.getLogger(__name__)


class LoadTurn:
    """A lock in the folder of models, which the system frees when its process ends.

    Args:
        folder: The folder; it is made.
        waiting: Called again and again while another process has its turn.
    """

    def __init__(self, folder: Path, waiting: Callable[[], object]) -> None:
        self._folder = folder
        self._waiting = waiting

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait for this process's turn and hold it. A folder that can't be locked is no reason not to load."""
        lock = FileLock(self._folder / NAME)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._acquire(lock)
        except (OSError, NotImplementedError) as e:
            log.warning("The folder of models can't be locked (%s); several devices may load at the same time.", e)
        try:
            yield
        finally:
            lock.release()

    def _acquire(self, lock: FileLock) -> None:
        while True:
            try:
                lock.acquire(timeout=_WAIT_SECONDS, poll_interval=0.1)
            except Timeout:
                self._waiting()
            else:
                return
