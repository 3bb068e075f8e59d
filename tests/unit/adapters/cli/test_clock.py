"""The machine's clock: a wait ends with its time or its event, whichever is first."""

from __future__ import annotations

import asyncio

import pytest

from adapters.cli.clock import SystemClock

LONG = 1000.0


async def test_a_wait_ends_with_its_event() -> None:
    event = asyncio.Event()
    async with asyncio.timeout(10):
        waiting = asyncio.ensure_future(SystemClock().wait(event, LONG))
        await asyncio.sleep(0)
        assert not waiting.done()
        event.set()
        await waiting


@pytest.mark.parametrize("seconds", [0.01, 0.0, -1.0])
async def test_a_wait_ends_with_its_time(seconds: float) -> None:
    async with asyncio.timeout(10):
        await SystemClock().wait(asyncio.Event(), seconds)


async def test_a_wait_can_be_cancelled() -> None:
    waiting = asyncio.ensure_future(SystemClock().wait(asyncio.Event(), LONG))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
