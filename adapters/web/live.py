"""Live cards by Server-Sent Events, ended when the service stops."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from typing import cast

from aiohttp import web

from adapters.web.render import card_json
from bot.model.cards import Card

BEAT_SECONDS = 15.0
"""A comment so often keeps proxies from closing a quiet stream, and shows that the browser has left."""

RETRY_MS = 2000
"""Browsers come back to a stream that broke after so long."""

log = logging.getLogger(__name__)


class Streams:
    """The streams that are open; ``close`` ends them, or a stop would wait for people to close their tabs."""

    def __init__(self) -> None:
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End all of them; browsers come back by themselves."""
        self._closing.set()

    async def send(self, request: web.Request, cards: AsyncIterator[Card]) -> web.StreamResponse:
        """Send each card as it comes, and ``end`` after the last one.

        The first card is awaited before anything is sent, so that a job that isn't there is a plain refusal.
        """
        async with contextlib.aclosing(cast("AsyncGenerator[Card]", cards)):
            first = await anext(cards)
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
            try:
                await response.prepare(request)
                await response.write(f"retry: {RETRY_MS}\n\n".encode() + _event(first))
                await self._follow(response, cards)
            except ConnectionResetError:
                pass  # the browser has left; the job goes on
            except Exception:
                # The answer has begun and can't become another one: it ends, and the browser asks again.
                log.exception("the stream of a job broke")
            return response

    async def _follow(self, response: web.StreamResponse, cards: AsyncIterator[Card]) -> None:
        closing = asyncio.ensure_future(self._closing.wait())
        coming = asyncio.ensure_future(anext(cards, None))
        try:
            while True:
                await asyncio.wait({coming, closing}, timeout=BEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if closing.done():
                    return
                if not coming.done():
                    await response.write(b": still here\n\n")
                elif (card := coming.result()) is None:
                    await response.write(b"event: end\ndata: {}\n\n")
                    return
                else:
                    await response.write(_event(card))
                    coming = asyncio.ensure_future(anext(cards, None))
        finally:
            for future in (coming, closing):
                future.cancel()
            await asyncio.gather(coming, closing, return_exceptions=True)


def _event(card: Card) -> bytes:
    return f"event: card\ndata: {json.dumps({'card': card_json(card)})}\n\n".encode()
