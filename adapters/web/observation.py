"""Every request has an id, in its answer's ``X-Request-Id`` and in log lines about it, and is counted and timed."""

from __future__ import annotations

import re
import time
import uuid

from aiohttp import web
from aiohttp.typedefs import Handler

from adapters.web.request_checks import SAFE_METHODS
from bot.observability.log_context import request_context
from bot.studio import Studio

HEADER = "X-Request-Id"

UNKNOWN = "unknown"
"""The route of requests for addresses that are none; no metric has what people wrote."""

_ID = re.compile(r"[A-Za-z0-9._-]{8,64}", re.ASCII)
_KEY = web.RequestKey("request_id", str)
_BEGUN = web.RequestKey("begun", float)


class RequestObserver:
    """Names, counts and times requests. Its middleware is the outermost one."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Take the id that a proxy or a client has given, or choose one, and name it in log lines."""
        given = request.headers.get(HEADER, "")
        request[_KEY] = given if _ID.fullmatch(given) else uuid.uuid4().hex[:16]
        request[_BEGUN] = time.perf_counter()
        with request_context(request[_KEY]):
            if request.method in SAFE_METHODS:
                # Streams last for hours, and readings are many.
                return await handler(request)
            with self._studio.traced_request(f"{request.method} {_route(request)}", request.headers):
                return await handler(request)

    async def answer_begins(self, request: web.Request, response: web.StreamResponse) -> None:
        """Name the request in its answer, and count it. Streams are timed up to their beginning."""
        if _KEY not in request:
            return
        response.headers[HEADER] = request[_KEY]
        self._studio.web_answered(_route(request), response.status, time.perf_counter() - request[_BEGUN])


def _route(request: web.Request) -> str:
    """Return the pattern of the request's address."""
    resource = request.match_info.route.resource
    return UNKNOWN if resource is None else resource.canonical
