"""The web server as a part of the service: its application, its log, and a listener with a limit of connections."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiohttp import web
from aiohttp.http import HttpProcessingError
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry
from yarl import URL

from adapters.platform import CatalogueMessage, PlatformService
from adapters.web.a1111.drawing import DrawingHandlers
from adapters.web.a1111.errors import PREFIX as A1111_PREFIX
from adapters.web.a1111.errors import error_form
from adapters.web.a1111.listings import ListingHandlers
from adapters.web.a1111.options import OptionHandlers
from adapters.web.access import AccessControl, token_of
from adapters.web.account import AccountHandlers
from adapters.web.api import Api, ExportHandlers, PageHandlers
from adapters.web.api_v1.service import NativeApi
from adapters.web.errors import ErrorMiddleware, mark_begun
from adapters.web.feed_api import FeedHandlers
from adapters.web.feed_streams import FeedStreams
from adapters.web.following import JobFollower
from adapters.web.identity import NAME
from adapters.web.inspection import InspectionHandlers
from adapters.web.mcp import McpHandlers
from adapters.web.observation import RequestObserver
from adapters.web.openai.errors import PREFIX as OPENAI_PREFIX
from adapters.web.openai.errors import answer as openai_answer
from adapters.web.openai.handlers import OpenAiApi
from adapters.web.outbound import OutboundClient
from adapters.web.owner import OwnerHandlers
from adapters.web.passkeys import PasskeyVerifier
from adapters.web.place import PlaceHandlers
from adapters.web.request_checks import BodyReader, add_headers
from adapters.web.routes import ROUTES, RouteTable
from adapters.web.settings import WebSettings
from adapters.web.sign_in import SignInHandlers
from adapters.web.sse import EventStreams
from adapters.web.static_files import compress
from bot.core.errors import BadInput
from bot.settings import Settings
from bot.studio import Studio

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 512
"""Most connections; a browser opens six."""

HEAD_SECONDS = 10.0
"""Seconds that the first request's header may take to arrive."""

SLOW_BODY_SECONDS = 5.0
"""Seconds that a request's body may take while others wait for a connection."""

IDLE_SECONDS = 75.0
"""Keep-alive timeout in seconds; longer than that of common proxies (nginx: 60 s)."""

STALLED_SECONDS = 60.0
"""Seconds after which a client that reads nothing of its answer is disconnected."""

PAUSE_SECONDS = 0.5
"""Seconds without accepting after the system has run out of descriptors or memory, and between two looks for room."""

LOG_SECONDS = 60.0
"""Seconds between two log lines about the same problem."""

_BACKLOG = 128
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def most_connections() -> int:
    """Return the most connections for this process: at most a third of its descriptors, since others are needed too."""
    try:
        import resource  # noqa: PLC0415 - not there on Windows
    except ImportError:
        return MAX_CONNECTIONS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else max(8, min(MAX_CONNECTIONS, soft // 3))


def allow_descriptors() -> None:
    """Raise this process's soft limit of open files to what MAX_CONNECTIONS need, as far as its hard limit allows.

    Many systems begin with 1,024, which are too few for 300 streams beside everything else.
    """
    try:
        import resource  # noqa: PLC0415 - not there on Windows
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 3 * MAX_CONNECTIONS if hard == resource.RLIM_INFINITY else min(3 * MAX_CONNECTIONS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # Some systems have a lower limit of their own.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class HttpConnection(web.RequestHandler):
    """A connection that knows whether it is busy.

    Attributes:
        busy: From a request's header to the end of its answer.
        since: Event loop time at which it last became idle or busy.
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
        self._head = asyncio.get_running_loop().call_later(HEAD_SECONDS, self.drop)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Free its place."""
        self._cancel_head()
        super().connection_lost(exc)
        self._listener.lost(self)

    def begun(self) -> None:
        """Mark the connection as busy: a request's header has arrived."""
        self._cancel_head()
        if not self.busy:
            self.busy, self.since = True, self._clock()

    @property
    def receives(self) -> bool:
        """Whether the body of its request has not arrived completely."""
        request = self._current_request
        return self.busy and request is not None and not request.content.is_eof()

    def drop(self) -> None:
        """Close it; a sender of a request that does not arrive is counted as refused."""
        if self._head is not None or self.receives:
            self._listener.refused("slow")
        self.force_close()

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

    At the limit, the connection that has been idle longest is closed, or else the one whose request's body has taken the
    longest, if that is more than SLOW_BODY_SECONDS. If there is none, new connections wait in the system's queue.

    asyncio's own server has no limit. Without a free descriptor it logs and retries up to 100 pending connections at
    every iteration of the loop.
    """

    def __init__(
        self,
        server: web.Server,
        *,
        most: int | None = None,
        tls: ssl.SSLContext | None = None,
        refused: Callable[[str], None] = lambda _: None,
        **how: Any,
    ) -> None:
        """Args:
        server: What answers requests.
        most: Most connections; by default what the process's descriptors allow.
        tls: The certificate of an HTTPS listener; None for HTTP.
        refused: Counts a connection that is closed before its request has arrived, by reason.
        how: Further arguments of aiohttp's RequestHandler.
        """
        self.connections: set[HttpConnection] = set()
        self.refused = refused
        self._server = server
        self._most = most_connections() if most is None else most
        self._tls = tls
        self._handshakes: set[asyncio.Task[None]] = set()
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
        for task in (*self._tasks, *self._handshakes):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._handshakes, return_exceptions=True)
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
                if self._tls is None:
                    await loop.connect_accepted_socket(self._connection, accepted)
                else:
                    # In a task: a slow handshake must not keep others waiting.
                    task = loop.create_task(self._shake_hands(accepted, self._tls), name="web handshake")
                    self._handshakes.add(task)
                    task.add_done_callback(self._handshake_ended)
            except OSError:  # the peer has already disconnected
                accepted.close()
            except BaseException:
                accepted.close()
                raise

    def _connection(self) -> HttpConnection:
        return HttpConnection(self, self._server, asyncio.get_running_loop(), **self._how)

    async def _shake_hands(self, accepted: socket.socket, tls: ssl.SSLContext) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._connection, accepted, ssl=tls, ssl_handshake_timeout=HEAD_SECONDS
            )
        except OSError:  # no TLS, another version of it, or the peer has disconnected
            accepted.close()
        except BaseException:
            accepted.close()
            raise

    def _handshake_ended(self, task: asyncio.Task[None]) -> None:
        self._handshakes.discard(task)
        self.room.set()

    async def _wait_for_room(self) -> None:
        while len(self.connections) + len(self._handshakes) >= self._most:
            self.room.clear()
            if not self._drop_one():
                self._say("%d connections to the page are all busy; new ones wait", len(self.connections))
            with suppress(TimeoutError):  # by then, a body may have taken too long
                async with asyncio.timeout(PAUSE_SECONDS):
                    await self.room.wait()

    def _drop_one(self) -> bool:
        """Close the connection that has been idle longest, or one with a slow body; returns whether there was one."""
        late = asyncio.get_running_loop().time() - SLOW_BODY_SECONDS
        idle = (c for c in self.connections if not c.busy)
        slow = (c for c in self.connections if c.receives and c.since < late)
        found = min(idle, key=lambda c: c.since, default=None) or min(slow, key=lambda c: c.since, default=None)
        if found is None:
            return False
        found.drop()
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
            self._drop_one()
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


CLOSE_SECONDS = 2.0
"""Seconds that open answers may still take at a stop."""

LINGER_SECONDS = 2.0
"""Seconds for which the rest of a refused body is read and discarded."""


def connection_options() -> dict[str, Any]:
    """Return the arguments of aiohttp's RequestHandler for each connection."""
    return {
        "access_log": None,
        "logger": server_logger(),
        # Bodies are read as sent: a decompressed one may be thousands of times larger.
        "auto_decompress": False,
        # The rest of a refused body is read for a while, so that the client sees the refusal.
        "lingering_time": LINGER_SECONDS,
    }


STREAMS = web.AppKey("streams", FeedStreams)
"""Where the application keeps the streams of the feed."""


def application(settings: WebSettings, studio: Studio, registry: CollectorRegistry, token: str = "") -> web.Application:
    """Return the aiohttp application with its access control and error handling.

    Args:
        settings: The page's settings.
        studio: The core.
        registry: The metrics of ``/metrics``.
        token: The token that lets other machines in; empty if there is none.
    """
    table = RouteTable()
    access = AccessControl(settings, studio, token, table)
    errors = ErrorMiddleware(studio, {A1111_PREFIX: error_form, OPENAI_PREFIX: openai_answer})
    observer = RequestObserver(studio)
    app = web.Application(middlewares=[observer.middleware, mark_busy, compress, errors.middleware, access.middleware])
    app[ROUTES] = table
    streams, feed = EventStreams(), FeedStreams(studio, most_connections() * 3 // 4)
    app[STREAMS] = feed
    table.add(app, PageHandlers(studio, registry).routes())
    follower, bodies = JobFollower(studio), BodyReader()
    table.add(app, Api(studio, streams, bodies).routes())
    table.add(app, OpenAiApi(studio, bodies, follower, access.origin_of).routes())
    table.add(app, FeedHandlers(studio, feed, bodies).routes())
    table.add(app, ExportHandlers(studio).routes())
    verifier = PasskeyVerifier()
    table.add(app, SignInHandlers(studio, access, verifier, bodies).routes())
    table.add(app, AccountHandlers(settings, studio, access, verifier, bodies).routes())
    table.add(app, PlaceHandlers(studio, bodies).routes())
    table.add(app, InspectionHandlers(studio, bodies).routes())
    drawing = DrawingHandlers(studio, bodies)
    mcp = McpHandlers(studio, bodies, access.origin_of)
    for handlers in (drawing, OptionHandlers(studio, bodies), ListingHandlers(studio, bodies), mcp):
        table.add(app, handlers.routes())
    table.add(app, OwnerHandlers(studio, bodies).routes())
    outbound = OutboundClient(studio.outbound_refused, private=settings.private_targets)
    native = NativeApi(studio, bodies, follower, outbound)
    table.add(app, native.routes())
    app.on_response_prepare.append(add_headers)
    app.on_response_prepare.append(observer.answer_begins)
    app.on_response_prepare.append(mark_begun)

    async def start(app: web.Application) -> None:  # noqa: ARG001 - aiohttp's signature
        feed.start()
        native.start()

    async def close(app: web.Application) -> None:  # noqa: ARG001 - aiohttp's signature
        streams.close()
        drawing.close()
        await mcp.close()
        await feed.close()
        follower.close()
        await native.close()

    app.on_startup.append(start)
    app.on_shutdown.append(close)
    return app


class WebService(PlatformService):
    """The page as `easel serve` runs it.

    Attributes:
        url: The address that people on this machine open; empty before ``start``.
        link: The address that lets people on other machines in; None where they can't reach the page.
    """

    name = NAME

    def __init__(self, settings: WebSettings, core: Settings, studio: Studio, registry: CollectorRegistry) -> None:
        self._settings = settings
        self._core = core
        self._studio = studio
        self._registry = registry
        self._runner: web.AppRunner | None = None
        self._listener: Listener | None = None
        self.url = ""
        self.link: str | None = None

    async def start(self) -> None:
        """Listen, and answer requests from now on.

        Raises:
            BadInput: The port can't be had, the token's or the certificate's file can't be used, or the page would listen
                unprotected.
        """
        settings = self._settings
        settings.check_bind()
        allow_descriptors()
        tls = await asyncio.to_thread(_tls, settings)
        token = await asyncio.to_thread(token_of, settings, self._core.data_dir)
        self._runner = web.AppRunner(
            application(settings, self._studio, self._registry, token), access_log=None, shutdown_timeout=CLOSE_SECONDS
        )
        await self._runner.setup()
        assert self._runner.server is not None
        self._listener = Listener(
            self._runner.server, tls=tls, refused=self._studio.count_refused, **connection_options()
        )
        try:
            await self._listener.start(settings.host, settings.port)
        except OSError as error:
            reason = error.strerror or str(error)
            raise BadInput("cli.port.in_use", host=settings.host, port=str(settings.port), reason=reason) from None
        self.url = f"{settings.local_url}/"
        if settings.exposed:
            self.link = str(URL(settings.public_link or self.url).with_query(token=token))

    @property
    def notices(self) -> tuple[CatalogueMessage, ...]:
        """The page's address, and a warning with the link where other machines can reach it."""
        page = CatalogueMessage("cli.serve.page", url=self.url)
        if self.link is None:
            return (page,)
        return page, CatalogueMessage("cli.serve.open", where=self._settings.address, link=self.link)

    async def run(self) -> None:
        """Wait until cancelled; ``start`` and ``stop`` decide when requests are answered."""
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Stop listening and end open requests, within 3 s."""
        if self._listener is not None:
            await self._listener.stop()
        if self._runner is not None:
            await self._runner.cleanup()


def _tls(settings: WebSettings) -> ssl.SSLContext | None:
    """Return the TLS configuration; None for HTTP. Blocking: reads the files. Raises BadInput if they can't be used."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        tls.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = str(error.strerror if isinstance(error, OSError) and error.strerror else error)
        raise BadInput(
            "refusal.web.tls_file", cert=str(settings.tls_cert), private=str(settings.tls_key), reason=reason
        ) from None
    return tls


def build(settings: WebSettings, core: Settings, studio: Studio, registry: CollectorRegistry) -> WebService:
    """Build the service; nothing listens before ``start``."""
    return WebService(settings, core, studio, registry)


LOGGER = "adapters.web.protocol"


class _Quiet(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the traceback of a malformed request, which quotes it, with the error's class."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.exc_info = record.exc_text = None
            record.levelno, record.levelname = logging.INFO, "INFO"
            record.msg, record.args = "a malformed request was refused: %s", (type(error).__name__,)
        return True


def server_logger() -> logging.Logger:
    """Return the logger that aiohttp's request handlers are given."""
    found = logging.getLogger(LOGGER)
    if not any(isinstance(one, _Quiet) for one in found.filters):
        found.addFilter(_Quiet())
    return found
