"""Progress in memory, and waking whoever watches."""

from __future__ import annotations

import asyncio

import pytest

from bot.dispatch.live import Live


def test_progress_is_the_share_of_all_pictures() -> None:
    live = Live()
    assert live.progress(1) is None
    live.begin(1, 4)
    assert live.progress(1) == 0
    live.step(1, 0, 1.0)
    live.step(1, 1, 0.5)
    assert live.progress(1) == pytest.approx(0.375)
    live.begin(1, 4)
    assert live.progress(1) == pytest.approx(0.375), "the next batch of a job goes on where the last one ended"
    live.end(1)
    assert live.progress(1) is None
    live.step(1, 0, 1.0)
    assert live.progress(1) is None


async def test_many_changes_are_one_step() -> None:
    live = Live()
    with live.subscribe(1) as changes:
        await anext(changes)
        for _ in range(10):
            live.changed(1)
        await anext(changes)
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        assert not waiting.done()
        live.changed(2)
        await asyncio.sleep(0)
        assert not waiting.done()
        live.changed(1)
        await waiting


async def test_every_watcher_wakes_and_none_is_kept() -> None:
    live = Live()
    with live.subscribe(1) as one, live.subscribe(1) as two:
        await anext(one)
        await anext(two)
        live.changed(1)
        await anext(one)
        await anext(two)
    assert not live._watchers
