"""The cards of one job by Server-Sent Events until it is final, for programs; ``feed_streams`` serves the page."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator

from aiohttp import web

from adapters.web.identity import actor_of
from adapters.web.person_limits import MOST_STREAMS, PersonLimit
from adapters.web.render import card_json
from bot.core.cards import Card
from bot.core.errors import Unavailable

BEAT_SECONDS = 15.0
"""Seconds between comments, which keep proxies from closing a silent stream and detect a closed browser."""

RETRY_MS = 2000
"""Milliseconds until browsers reconnect to a broken stream."""

MOST = 128
"""Most streams; the other connections serve everything else."""

SEND_SECONDS = 30.0
"""Seconds after which a browser that reads nothing is disconnected."""

log = logging.getLogger(__name__)

Cards = AsyncGenerator[Card]
"""The cards of a job, each time that it changes."""


class EventStreams:
    """The open streams. ``close`` ends them, so that a stop does not wait for open tabs."""

    def __init__(self) -> None:
        self._closing = asyncio.Event()
        self._open = 0
        self._own = PersonLimit(MOST_STREAMS)

    def close(self) -> None:
        """End all streams; browsers reconnect by themselves."""
        self._closing.set()

    async def send(self, request: web.Request, cards: Cards) -> web.StreamResponse:
        """Send each card as it changes, and ``end`` after the last one.

        The first card is awaited before anything is sent.

        Raises:
            Unavailable: The most streams are open.
            TooManyRequests: The person has the most open.
        """
        async with contextlib.aclosing(cards):
            if self._open >= MOST:
                raise Unavailable("unavailable.web.streams", wait=RETRY_MS / 1000)
            self._open += 1
            try:
                with self._own.hold(actor_of(request)):
                    return await self._send(request, cards)
            finally:
                self._open -= 1

    async def _send(self, request: web.Request, cards: Cards) -> web.StreamResponse:
        first = await anext(cards)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        try:
            await response.prepare(request)
            await _write(response, f"retry: {RETRY_MS}\n\n".encode() + _event(first))
            await self._follow(response, cards)
        except ConnectionResetError:
            pass  # the client has disconnected; the job goes on
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        except Exception:
            # The response has begun and can't become an error: it ends, and the browser reconnects.
            log.exception("the stream of a job broke")
        return response

    async def _follow(self, response: web.StreamResponse, cards: Cards) -> None:
        closing = asyncio.ensure_future(self._closing.wait())
        coming = asyncio.ensure_future(anext(cards, None))
        try:
            while True:
                await asyncio.wait({coming, closing}, timeout=BEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if closing.done():
                    return
                if not coming.done():
                    await _write(response, b": still here\n\n")
                elif (card := coming.result()) is None:
                    await _write(response, b"event: end\ndata: {}\n\n")
                    return
                else:
                    await _write(response, _event(card))
                    coming = asyncio.ensure_future(anext(cards, None))
        finally:
            for future in (coming, closing):
                future.cancel()
            await asyncio.gather(coming, closing, return_exceptions=True)


async def _write(response: web.StreamResponse, data: bytes) -> None:
    """Write to a stream. Raises TimeoutError if the browser reads nothing."""
    async with asyncio.timeout(SEND_SECONDS):
        await response.write(data)


def _event(card: Card) -> bytes:
    return f"event: card\ndata: {json.dumps({'card': card_json(card)})}\n\n".encode()
