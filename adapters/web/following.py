"""Waits for a job on behalf of a client that keeps its request open, and notices when the client disconnects."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

from aiohttp import web

from bot.core.cards import Card
from bot.core.errors import Unavailable
from bot.core.people import Actor
from bot.studio import Studio

POLL_SECONDS = 1.0
"""Seconds between two looks at whether the client is still connected."""

RETRY_SECONDS = 2.0
"""Seconds after which a client tries again when the service stops."""


STOPPING = "unavailable.web.stopping"
"""Key of the refusal when the service stops."""


class Disconnected(ConnectionResetError):
    """The client has closed its connection."""


class Stopping(Exception):
    """The service stops."""


class _End:
    """Marks the end of an iterator."""


_END = _End()
T = TypeVar("T")


class JobFollower:
    """Follows jobs for open requests. ``close`` ends all of them, so that a stop does not wait for drawings."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End all waits; their clients are asked to try again."""
        self._closing.set()

    async def follow(
        self, request: web.Request, actor: Actor, job_id: int, *, previews: bool = False
    ) -> AsyncGenerator[Card | None]:
        """Yield the job's card now and after each change until it is final, and None every POLL_SECONDS without one.

        Raises:
            Disconnected: The client has closed its connection.
            NotFound: There is no such job of the actor.
            Unavailable: The service stops; the job is drawn after the next start.
        """
        async with contextlib.aclosing(self._studio.watch(actor, job_id, previews=previews)) as cards:
            try:
                async with contextlib.aclosing(self.items(request, cards)) as watched:
                    async for card in watched:
                        yield card
            except Stopping:
                raise Unavailable(STOPPING, job=job_id, wait=RETRY_SECONDS) from None

    async def items(self, request: web.Request, source: AsyncIterator[T]) -> AsyncGenerator[T | None]:
        """Yield what an iterator gives, and None every POLL_SECONDS without anything.

        Raises:
            Disconnected: The client has closed its connection.
            Stopping: The service stops.
        """
        closing = asyncio.ensure_future(self._closing.wait())
        coming = asyncio.ensure_future(anext(source, _END))
        try:
            while True:
                await asyncio.wait({coming, closing}, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if closing.done():
                    raise Stopping
                if request.transport is None or request.transport.is_closing():
                    raise Disconnected
                if not coming.done():
                    yield None
                    continue
                item = coming.result()
                if isinstance(item, _End):
                    return
                yield item
                coming = asyncio.ensure_future(anext(source, _END))
        finally:
            for future in (coming, closing):
                future.cancel()
            await asyncio.gather(coming, closing, return_exceptions=True)

    async def wait(self, request: web.Request, actor: Actor, job_id: int) -> None:
        """Return when the job has ended. Raises as ``follow``."""
        async with contextlib.aclosing(self.follow(request, actor, job_id)) as cards:
            async for _ in cards:
                pass
