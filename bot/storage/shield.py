"""Work that a cancellation may follow but not cut in two."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def shield(work: Awaitable[T]) -> T:
    """Await work that must not be left half done: a cancellation that comes meanwhile is raised after it.

    For what has to happen together: a commit, or a commit and telling the queue of it. Keep such work short.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as e:
            cancelled = e
    result = task.result()
    if cancelled is not None:
        raise cancelled
    return result
