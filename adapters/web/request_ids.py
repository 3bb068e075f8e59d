"""Ids of requests: they stand in the answer's ``X-Request-Id`` and in every log line about the request."""

from __future__ import annotations

import re
import uuid

from aiohttp import web
from aiohttp.typedefs import Handler

from bot.observability.log_context import request_context

HEADER = "X-Request-Id"

_ID = re.compile(r"[A-Za-z0-9._-]{8,64}", re.ASCII)
_KEY = web.RequestKey("request_id", str)


@web.middleware
async def request_ids(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Take the id that a proxy or a client has given, or choose one, and name it in log lines."""
    given = request.headers.get(HEADER, "")
    request[_KEY] = given if _ID.fullmatch(given) else uuid.uuid4().hex[:16]
    with request_context(request[_KEY]):
        return await handler(request)


async def add_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """Name the request in its answer."""
    if _KEY in request:
        response.headers[HEADER] = request[_KEY]
