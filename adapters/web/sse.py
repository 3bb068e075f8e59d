"""Live cards by Server-Sent Events, ended when the service stops."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator

from aiohttp import web

from adapters.web.render import card_json
from bot.core.cards import Card
from bot.core.errors import Unavailable

BEAT_SECONDS = 15.0
"""A comment so often keeps proxies from closing a quiet stream, and shows that the browser has left."""

RETRY_MS = 2000
"""Browsers come back to a stream that broke after so long."""

MOST = 128
"""EventStreams at once: they must leave connections for all else."""

SEND_SECONDS = 30.0
"""A browser that takes nothing for so long has left."""

log = logging.getLogger(__name__)

Cards = AsyncGenerator[tuple[int, Card | None]]
"""Cards as they change, by job; None for a job that is not there."""


class EventStreams:
    """The streams that are open; ``close`` ends them, or a stop would wait for people to close their tabs."""

    def __init__(self) -> None:
        self._closing = asyncio.Event()
        self._open = 0

    def close(self) -> None:
        """End all of them; browsers come back by themselves."""
        self._closing.set()

    async def send(self, request: web.Request, cards: Cards) -> web.StreamResponse:
        """Send each card as it comes, and ``end`` after the last one.

        The first card is awaited before anything is sent.

        Raises:
            Unavailable: As many streams are open as may be.
        """
        async with contextlib.aclosing(cards):
            if self._open >= MOST:
                raise Unavailable("unavailable.web.streams", wait=RETRY_MS / 1000)
            self._open += 1
            try:
                return await self._send(request, cards)
            finally:
                self._open -= 1

    async def _send(self, request: web.Request, cards: Cards) -> web.StreamResponse:
        first = await anext(cards)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        try:
            await response.prepare(request)
            await _write(response, f"retry: {RETRY_MS}\n\n".encode() + _event(*first))
            await self._follow(response, cards)
        except ConnectionResetError:
            pass  # the browser has left; the job goes on
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        except Exception:
            # The answer has begun and can't become another one: it ends, and the browser asks again.
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
                elif (change := coming.result()) is None:
                    await _write(response, b"event: end\ndata: {}\n\n")
                    return
                else:
                    await _write(response, _event(*change))
                    coming = asyncio.ensure_future(anext(cards, None))
        finally:
            for future in (coming, closing):
                future.cancel()
            await asyncio.gather(coming, closing, return_exceptions=True)


async def _write(response: web.StreamResponse, data: bytes) -> None:
    """Send some of a stream. Raises TimeoutError when the browser takes nothing."""
    async with asyncio.timeout(SEND_SECONDS):
        await response.write(data)


def _event(job_id: int, card: Card | None) -> bytes:
    if card is None:
        return f"event: gone\ndata: {json.dumps({'job_id': job_id})}\n\n".encode()
    return f"event: card\ndata: {json.dumps({'card': card_json(card)})}\n\n".encode()
