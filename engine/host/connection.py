"""The connection with a process that holds a device: what ``ProcessEngine`` needs of it, wherever that process runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from engine.host import wire


class WorkerConnection(Protocol):
    """A process that draws, and the messages exchanged with it. ``ChildProcess`` is one."""

    @property
    def pid(self) -> int | None:
        """Process id; None until it is known. Of another machine it means nothing here."""

    @property
    def last_lines(self) -> Sequence[str]:
        """The last lines that it logged; empty where they stay on another machine."""

    def send(self, message: wire.Message) -> None:
        """Send a message; lost if the process has ended, which ``receive`` reports."""

    async def receive(self) -> wire.Message:
        """Return the next message.

        Raises:
            ChildFailed: The process has ended, was silent for too long or sent something that is not a message; it is
                killed.
        """

    def expect_within(self, seconds: float | None) -> None:
        """Set how long the process may be silent from now on; None: for ever. Applies to a ``receive`` that waits, too."""

    def kill(self) -> None:
        """Kill the process at once. Call ``stop`` afterwards."""

    async def stop(self) -> None:
        """End the process, and kill it if it has not ended in time."""


Connect = Callable[[], Awaitable[WorkerConnection]]
"""Starts a process and returns the connection with it. Raises ChildFailed if it can't be started."""
