"""Painter: the actor of one GPU. It runs the same worker as a child process does; Ray only carries the messages.

All work on the device happens on one thread. The methods run on the actor's event loop, which is never blocked.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import platform
import signal
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version

from engine.host import wire
from engine.host.child import hand
from engine.host.inbox import Inbox
from engine.ray import carried_files
from engine.ray.carried_files import CarriedFiles
from engine.ray.outbox import Outbox

Worker = Callable[[wire.Setup, Callable[[wire.Message], None], Inbox], None]
"""Draws until the process ends; returns only if it can't. ``engine.host.child.draw`` is one."""

_PDEATHSIG = 1
"""``PR_SET_PDEATHSIG`` of Linux."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What an actor tells of itself.

    Attributes:
        pid: Its process id.
        node: Name of its machine.
        easel: Version of Easel there.
    """

    pid: int
    node: str
    easel: str


class Painter:
    """Draws with one worker, which the first message (``wire.Setup``) starts.

    Args:
        worker: What draws, as ``module:function``.
    """

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._inbox = Inbox()
        self._outbox: Outbox | None = None
        self._problem = ""
        _end_with_parent()

    async def hello(self) -> Hello:
        """Return what the driver has to know before it sends anything."""
        self._outbox = Outbox()
        await asyncio.to_thread(carried_files.remove_leftovers)
        self._files = CarriedFiles()
        return Hello(os.getpid(), platform.node(), version("easel"))

    async def tell(self, frames: bytes, files: Mapping[str, bytes]) -> None:
        """Take messages, with the files that they name, by their paths at the service."""
        for message in wire.CODEC.decode_all(frames):
            if isinstance(message, wire.Setup):
                threading.Thread(target=self._work, args=(message,), name="device", daemon=True).start()
                continue
            hand(await asyncio.to_thread(self._files.localize, message, files), self._inbox)
            if isinstance(message, wire.Drop):
                self._files.ended(message.tickets)

    async def listen(self) -> AsyncGenerator[bytes]:
        """Yield whole frames for a while; an empty item says that the worker has ended."""
        assert self._outbox is not None
        async for item in self._outbox.stream():
            yield item

    async def problem(self) -> str:
        """Return why the worker has ended; empty if it has said so itself."""
        return self._problem

    def _work(self, setup: wire.Setup) -> None:
        """Run the worker on this thread, to its end."""
        assert self._outbox is not None
        _say_warnings(self._outbox)
        module, _, name = self._worker.partition(":")
        try:
            worker: Worker = getattr(import_module(module), name)
            worker(setup, self._send, self._inbox)
        except Exception as error:  # whatever the device raises: the process is of no use then
            logging.getLogger("engine").exception("the device's process failed")
            self._problem = f"{type(error).__name__}: {error}"
        self._outbox.end()

    def _send(self, message: wire.Message) -> None:
        """Send a message to the driver; called on any thread."""
        assert self._outbox is not None
        self._outbox.put(message)
        match message:
            case wire.ImageReady(ticket=ticket) | wire.RequestFailed(ticket=ticket) | wire.TextReady(ticket=ticket):
                self._outbox.call(self._files.ended, (ticket,))


class _Notices(logging.Handler):
    """Sends warnings of the engine as notices: the files of Ray's own log are on another machine."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__(logging.WARNING)
        self._outbox = outbox

    def emit(self, record: logging.LogRecord) -> None:
        text = " ".join(self.format(record).split())[-2000:]
        self._outbox.put(wire.Notice(f"{record.levelname}:{record.name}: {text}"))


def _say_warnings(outbox: Outbox) -> None:
    logging.getLogger("engine").addHandler(_Notices(outbox))


def _end_with_parent() -> None:
    """Let the system end this process with the one that has started it, as soon as that is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
