"""``/mcp``: runs the MCP package's ASGI application inside the page's server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs, web

from adapters.mcp.tools import PATH, Caller, Tools, is_installed
from adapters.web.identity import actor_of, place_of
from adapters.web.request_checks import BodyReader
from adapters.web.routes import Role, Route
from bot.core.errors import Unavailable
from bot.studio import Studio

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

MAX_BODY = 16 * 2**20
"""Most bytes of a message: a picture to change, in base64."""

WATCH_SECONDS = 0.5
"""Seconds between two checks whether a client has disconnected."""

CALLER = "easel.caller"
"""Key of the caller in the scope of a request."""

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]
"""An ASGI application."""


class McpHandlers:
    """Handler of ``/mcp``. Requests act as the person who is signed in or whose key they carry.

    It is stateless: no session is kept between messages, so that a restart breaks none, and none can be taken over.
    """

    def __init__(self, studio: Studio, bodies: BodyReader, origin_of: Callable[[web.Request], str]) -> None:
        """Args:
        studio: Draws.
        bodies: Reads messages within limits.
        origin_of: Returns how the client has called the page, such as ``https://easel.example``.
        """
        self._origin_of = origin_of
        self._tools = Tools(studio)
        self._bodies = bodies
        self._manager: StreamableHTTPSessionManager | None = None
        self._starting = asyncio.Lock()
        self._running: asyncio.Task[None] | None = None
        self._entered = asyncio.Event()
        self._stop = asyncio.Event()

    def routes(self) -> list[Route]:
        """Return the routes. There is no GET: the server sends nothing that was not asked for."""
        return [Route("POST", PATH, self.message, Role.MEMBER)]

    async def close(self) -> None:
        """End the calls that are open. Their jobs go on, and are in the history."""
        self._tools.stop()
        self._stop.set()
        async with self._starting:
            if self._running is not None:
                await self._running
        await self._tools.close()

    async def message(self, request: web.Request) -> web.StreamResponse:
        """Pass a message to the protocol's server, which is started for the first one.

        Raises:
            Unavailable: The package is not installed, the service stops, or too many bytes of other uploads are in memory.
            LengthRequired: The message has no length.
            BodyTooLarge: It has more than MAX_BODY bytes.
            RequestTimeout: It came too slowly.
        """
        manager = await self._started()
        caller = Caller(actor_of(request), place_of(request), self._origin_of(request))
        # Read before it is passed on: a sender who stops in the middle must not keep the memory of others.
        async with self._bodies.whole(request, MAX_BODY) as body:
            return await Bridge(request, body, {CALLER: caller}, self._stop).answer(manager.handle_request)

    async def _started(self) -> StreamableHTTPSessionManager:
        """Return the protocol's server; the first message starts it, since most services never get one."""
        async with self._starting:
            if self._stop.is_set():
                raise Unavailable("unavailable.mcp.stopping")
            if self._manager is None:
                if not is_installed():
                    raise Unavailable("unavailable.mcp.missing")
                # The import takes half a second and tens of MB. In a thread: other requests are answered meanwhile.
                self._manager = await asyncio.to_thread(self._make_manager)
                # In a task of its own: the package's task group has to be left by the task that has entered it.
                self._running = asyncio.create_task(self._run(self._manager), name="mcp")
        await self._entered.wait()
        return self._manager

    def _make_manager(self) -> StreamableHTTPSessionManager:
        # The package is optional.
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager  # noqa: PLC0415 - see above

        from adapters.mcp.server import make_server  # noqa: PLC0415 - see above

        server = make_server(self._tools, lambda ctx: _caller_in(ctx.request))
        return StreamableHTTPSessionManager(server, stateless=True, max_request_body_size=MAX_BODY)

    async def _run(self, manager: StreamableHTTPSessionManager) -> None:
        try:
            async with manager.run():
                self._entered.set()
                await self._stop.wait()
        finally:
            self._entered.set()  # messages must not wait for a start that has failed


def _caller_in(request: Any) -> Caller:
    caller = request.scope[CALLER]
    assert isinstance(caller, Caller)
    return caller


class Bridge:
    """One aiohttp request as an ASGI application sees it."""

    def __init__(self, request: web.Request, body: bytes, extra: Scope, stop: asyncio.Event) -> None:
        """Args:
        request: The request.
        body: Its body.
        extra: Further entries of the scope.
        stop: Ends the request when it is set.
        """
        self._stop = stop
        self._request = request
        self._extra = extra
        self._response: web.StreamResponse | None = None
        self._body: bytes | None = body

    async def answer(self, application: Application) -> web.StreamResponse:
        """Run the application until it has answered, the client has left, or ``stop`` is set.

        Returns the response, which is sent.

        Raises:
            ConnectionResetError: The client has left before there was a response.
            Unavailable: The service has stopped before there was one.
        """
        calling = asyncio.create_task(_call(application, self._scope(), self._receive, self._send), name="mcp message")
        leaving = asyncio.create_task(self._left(), name="client of mcp")
        stopping = asyncio.create_task(self._stop.wait(), name="stop of mcp")
        tasks = (calling, leaving, stopping)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if calling.done():
                await calling
            elif self._response is None and not leaving.done():
                raise Unavailable("unavailable.mcp.stopping")
            elif self._request.transport is not None:
                # A response that only ended would look complete.
                self._request.transport.abort()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._response is None:
            raise ConnectionResetError
        return self._response

    async def _left(self) -> None:
        """Return once the client has left."""
        while self._request.transport is not None and not self._request.transport.is_closing():  # noqa: ASYNC110 - aiohttp has no event for it
            await asyncio.sleep(WATCH_SECONDS)

    def _scope(self) -> Scope:
        request = self._request
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": f"{request.version.major}.{request.version.minor}",
            "method": request.method,
            "scheme": request.scheme,
            "path": request.path,
            "raw_path": request.rel_url.raw_path.encode("ascii"),
            "query_string": request.query_string.encode(),
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.raw_headers],
            "client": tuple(peer[:2]) if isinstance(peer, tuple) else None,
            "server": None,
            **self._extra,
        }

    async def _receive(self) -> Message:
        if self._body is None:
            await self._left()
            return {"type": "http.disconnect"}
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._response = web.StreamResponse(status=message["status"])
            for name, value in message.get("headers", ()):
                if name.lower() != hdrs.CONNECTION.lower().encode():
                    self._response.headers.add(name.decode("latin-1"), value.decode("latin-1"))
            await self._response.prepare(self._request)
        elif message["type"] == "http.response.body":
            assert self._response is not None
            if body := message.get("body", b""):
                await self._response.write(body)
            if not message.get("more_body", False):
                await self._response.write_eof()


async def _call(application: Application, *arguments: Any) -> None:
    await application(*arguments)
