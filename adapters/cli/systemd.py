"""What systemd is told (sd_notify): that the service is ready, that it is alive, and that it stops."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

log = logging.getLogger(__name__)

PINGS = 3
"""Pings within the time after which systemd ends a silent service."""


class Systemd:
    """The socket of ``Type=notify``. Without one, as in a terminal, nothing is sent."""

    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        """Args:
        address: Path of the socket, or ``@name`` of an abstract one; empty for none.
        watchdog: Seconds of silence after which systemd ends the service; 0: it does not watch.
        """
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watchdog = watchdog

    @classmethod
    def from_environment(cls) -> Systemd:
        """Take systemd's variables out of the environment, so that child processes don't see them."""
        address = os.environ.pop("NOTIFY_SOCKET", "")
        watched = {name: os.environ.pop(name, "") for name in ("WATCHDOG_USEC", "WATCHDOG_PID")}
        return cls(address, _seconds(watched))

    def notify(self, **state: str | int) -> None:
        """Send a state, such as ``READY=1``. A socket that is gone is logged once: the service goes on."""
        if not self._address:
            return
        message = "\n".join(f"{name}={value}" for name, value in state.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                # A full queue of systemd must not stop the event loop.
                sender.setblocking(False)
                sender.connect(self._address)
                sender.send(message.encode())
        except BlockingIOError:
            log.debug("systemd does not read its socket now")
        except OSError as error:
            log.warning("systemd can't be told that the service runs: %s", error)
            self._address = ""

    @asynccontextmanager
    async def serving(self, is_alive: Callable[[], bool], status: Callable[[], str]) -> AsyncIterator[None]:
        """Say that the service is ready, ping while the block runs, and say at its end that it stops.

        Args:
            is_alive: Whether the service works; while it does not, no ping is sent, and systemd starts it again.
            status: One line about the service, for ``systemctl status``.
        """
        self.notify(READY=1, STATUS=status())
        pinging = asyncio.create_task(self._ping(is_alive, status), name="watchdog")
        try:
            yield
        finally:
            self.notify(STOPPING=1)
            pinging.cancel()
            await asyncio.gather(pinging, return_exceptions=True)

    async def _ping(self, is_alive: Callable[[], bool], status: Callable[[], str]) -> None:
        if not (self._address and self._watchdog):
            return
        was_alive = True
        try:
            while True:
                await asyncio.sleep(self._watchdog / PINGS)
                alive = is_alive()
                if alive:
                    self.notify(WATCHDOG=1, STATUS=status())
                elif was_alive:
                    log.critical(
                        "the dispatcher does nothing about waiting jobs: systemd is left to start the service again"
                    )
                was_alive = alive
        except Exception:
            log.exception("systemd can't be told that the service is alive, and starts it again")


def _seconds(watched: Mapping[str, str]) -> float:
    """Return the watchdog's time in seconds; 0 if systemd does not watch this process."""
    microseconds, pid = watched["WATCHDOG_USEC"], watched["WATCHDOG_PID"]
    if not microseconds.isdigit() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(microseconds) / 1e6
