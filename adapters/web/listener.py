"""Accepts connections up to a limit; idle ones are closed for new ones. asyncio's own server has no limit.

Without a free descriptor it logs and retries up to 100 pending connections at every iteration of the loop.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from typing import Any

from aiohttp import web

from adapters.web.guard import Handler

log = logging.getLogger(__name__)

MOST = 512
"""Most connections; a browser opens six."""

HEAD_SECONDS = 10.0
"""Seconds that the first request's header may take to arrive."""

IDLE_SECONDS = 75.0
"""Keep-alive timeout in seconds; longer than that of common proxies (nginx: 60 s)."""

STALLED_SECONDS = 60.0
"""Seconds after which a client that reads nothing of its answer is disconnected."""

PAUSE_SECONDS = 0.5
"""Seconds without accepting after the system has run out of descriptors or memory."""

LOG_SECONDS = 60.0
"""Seconds between two log lines about the same problem."""

_BACKLOG = 128
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def most_connections() -> int:
    """Return the most connections for this process: at most a third of its descriptors, since others are needed too."""
    try:
        import resource  # noqa: PLC0415 - not there on Windows
    except ImportError:
        return MOST
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else max(8, min(MOST, soft // 3))


class HttpConnection(web.RequestHandler):
    """A connection that knows whether it is busy.

    Attributes:
        busy: From a request's header to the end of its answer.
        since: Event loop time at which it last became idle.
    """

    def __init__(self, listener: Listener, server: web.Server, loop: asyncio.AbstractEventLoop, **how: Any) -> None:
        super().__init__(server, loop=loop, keepalive_timeout=IDLE_SECONDS, **how)
        self._listener = listener
        self._clock = loop.time
        self._head: asyncio.TimerHandle | None = None
        self.busy = False
        self.since = loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the timeout of the first request's header."""
        super().connection_made(transport)
        self._listener.connections.add(self)
        self._head = asyncio.get_running_loop().call_later(HEAD_SECONDS, self.force_close)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Free its place."""
        self._cancel_head()
        super().connection_lost(exc)
        self._listener.lost(self)

    def begun(self) -> None:
        """Mark the connection as busy: a request's header has arrived."""
        self._cancel_head()
        self.busy = True

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the answer, then mark the connection as idle."""
        self.begun()
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self.busy = False
            self.since = self._clock()
            self._listener.room.set()

    def _cancel_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None


@web.middleware
async def mark_busy(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Mark the request's connection as busy."""
    if isinstance(request.protocol, HttpConnection):
        request.protocol.begun()
    return await handler(request)


class Listener:
    """Listens, and accepts up to ``most`` connections for an aiohttp server.

    At the limit, the connection that has been idle longest is closed. If none is idle, new connections wait in the
    system's queue.
    """

    def __init__(self, server: web.Server, *, most: int | None = None, **how: Any) -> None:
        """Args:
        server: What answers requests.
        most: Most connections; by default what the process's descriptors allow.
        how: Further arguments of aiohttp's RequestHandler.
        """
        self.connections: set[HttpConnection] = set()
        self._server = server
        self._most = most_connections() if most is None else most
        self._how = how
        self._sockets: list[socket.socket] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.room = asyncio.Event()
        """Set when a connection has ended or become idle."""
        self._logged = float("-inf")

    async def start(self, host: str, port: int) -> None:
        """Listen on every address of ``host``. Raises OSError if one can't be bound."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, kind, protocol, _, address in dict.fromkeys(found):
                self._sockets.append(_listening(family, kind, protocol, address))
        except OSError:
            self._close()
            raise
        self._tasks = [loop.create_task(self._accept(one), name="web accept") for one in self._sockets]

    async def stop(self) -> None:
        """Stop accepting; open connections stay open."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self._close()

    def lost(self, connection: HttpConnection) -> None:
        """Remove a closed connection."""
        self.connections.discard(connection)
        self.room.set()

    def _close(self) -> None:
        for one in self._sockets:
            one.close()
        self._sockets = []

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(listening)
            except OSError as error:
                await self._failed(error)
                continue
            try:
                await self._wait_for_room()
                _limit_stalls(accepted)
                await loop.connect_accepted_socket(
                    lambda: HttpConnection(self, self._server, loop, **self._how), accepted
                )
            except OSError:  # the peer has already disconnected
                accepted.close()
            except BaseException:
                accepted.close()
                raise

    async def _wait_for_room(self) -> None:
        while len(self.connections) >= self._most:
            self.room.clear()
            if not self._drop_idle():
                self._say("%d connections to the page are all busy; new ones wait", len(self.connections))
            await self.room.wait()

    def _drop_idle(self) -> bool:
        """Close the connection that has been idle longest; returns whether there was one."""
        idle = min((c for c in self.connections if not c.busy), key=lambda c: c.since, default=None)
        if idle is None:
            return False
        idle.force_close()
        return True

    async def _failed(self, error: OSError) -> None:
        """Log the error and pause before the next try."""
        if error.errno == errno.ECONNABORTED:
            return
        self._say(
            "the page can't accept a connection (%s); again in %g s", os.strerror(error.errno or 0), PAUSE_SECONDS
        )
        if error.errno in _EXHAUSTED:
            # Closing an idle connection frees a descriptor.
            self._drop_idle()
        await asyncio.sleep(PAUSE_SECONDS)

    def _say(self, message: str, *values: object) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._logged >= LOG_SECONDS:
            self._logged = now
            log.warning(message, *values)


def _listening(family: int, kind: int, protocol: int, address: Any) -> socket.socket:
    one = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(address)
        one.listen(_BACKLOG)
        one.setblocking(False)
    except OSError as error:
        one.close()
        raise OSError(error.errno, f"{os.strerror(error.errno or 0)} ({address[0]}, port {address[1]})") from None
    return one


def _limit_stalls(accepted: socket.socket) -> None:
    """Have the system close a connection whose peer reads nothing for STALLED_SECONDS."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STALLED_SECONDS * 1000))
