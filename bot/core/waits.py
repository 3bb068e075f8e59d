"""A pause that ends early when something has happened."""

from __future__ import annotations

import asyncio

from bot.core.ports import Clock


async def until(event: asyncio.Event, seconds: float, clock: Clock) -> None:
    """Wait so long, or until the event is set."""
    tasks = {asyncio.ensure_future(clock.sleep(seconds)), asyncio.ensure_future(event.wait())}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
