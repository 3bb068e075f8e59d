"""Writes Server-Sent Events to one client, which may read slowly or leave."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping

from aiohttp import hdrs, web

from adapters.web.following import Disconnected

BEAT_SECONDS = 15.0
"""Seconds between comments, which keep proxies from closing a silent stream."""

SEND_SECONDS = 30.0
"""Seconds after which a client that reads nothing is disconnected."""


class EventWriter:
    """The stream of one request. It begins with its first event, so that a refusal before it is an ordinary answer."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._last = time.monotonic()
        self.response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "text/event-stream", "X-Accel-Buffering": "no"})

    async def event(self, name: str, data: Mapping[str, object]) -> None:
        """Send an event with JSON. Raises Disconnected where the client has left or reads nothing."""
        await self._write(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())

    async def beat(self) -> None:
        """Send a comment if nothing was sent for a while. Raises Disconnected."""
        if time.monotonic() - self._last >= BEAT_SECONDS:
            await self.comment()

    async def comment(self) -> None:
        """Send a comment. Raises Disconnected."""
        await self._write(b": still here\n\n")

    async def _write(self, data: bytes) -> None:
        try:
            if not self.response.prepared:
                await self.response.prepare(self._request)
            async with asyncio.timeout(SEND_SECONDS):
                await self.response.write(data)
        except (ConnectionResetError, TimeoutError):
            if self._request.transport is not None:
                self._request.transport.abort()
            raise Disconnected from None
        self._last = time.monotonic()
