"""Shields short work from cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def shield(work: Awaitable[T]) -> T:
    """Await work that must not be interrupted; a cancellation meanwhile is raised after it.

    For steps that belong together, such as a commit and the queue's update. Keep the work short.
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
