"""Live state of jobs: progress, previews, and waking viewers."""

from __future__ import annotations

import asyncio

import pytest

from bot.core.events import EventBus, JobChanged, PreviewDemand
from bot.delivery.live import Live


def watched() -> tuple[Live, list[tuple[int, bool]]]:
    """Return live state, and a list of the demands for previews that it publishes."""
    bus, demands = EventBus(), list[tuple[int, bool]]()
    bus.subscribe(PreviewDemand, lambda event: demands.append((event.job_id, event.wanted)))
    return Live(bus), demands


def test_progress_is_the_share_of_all_pictures() -> None:
    live = Live(EventBus())
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
    live = Live(EventBus())
    with live.subscribe((1,)) as changes:
        await anext(changes)
        for _ in range(10):
            live.wake(1)
        await anext(changes)
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        assert not waiting.done()
        live.wake(2)
        await asyncio.sleep(0)
        assert not waiting.done()
        live.wake(1)
        await waiting


async def test_every_viewer_wakes_and_none_is_kept() -> None:
    live = Live(EventBus())
    with live.subscribe((1,)) as one, live.subscribe((1,)) as two:
        await anext(one)
        await anext(two)
        live.wake(1)
        await anext(one)
        await anext(two)
    assert not live._viewers


def test_previews_are_there_while_it_is_drawn() -> None:
    live = Live(EventBus())
    live.add_preview(1, 0, b"early", "image/jpeg")
    assert not live.previews(1)
    live.begin(1, 2)
    with live.subscribe((1,), previews=True):
        live.add_preview(1, 1, b"one", "image/jpeg")
        first = live.previews(1)[1]
        live.add_preview(1, 1, b"two", "image/jpeg")
        assert live.previews(1).keys() == {1}
        assert (live.previews(1)[1].data, live.previews(1)[1].number > first.number) == (b"two", True)
        live.end(1)
        assert not live.previews(1)


async def test_a_preview_wakes_viewers() -> None:
    live = Live(EventBus())
    live.begin(1, 1)
    with live.subscribe((1,), previews=True) as changes:
        await anext(changes)
        live.add_preview(1, 0, b"one", "image/jpeg")
        await anext(changes)


def test_the_first_and_the_last_viewer_of_previews_are_published() -> None:
    live, told = watched()
    live.begin(1, 1)
    with live.subscribe((1,)):
        assert (told, live.wants_previews(1)) == ([], False)
        with live.subscribe((1,), previews=True):
            with live.subscribe((1,), previews=True), live.subscribe((2,), previews=True):
                assert told == [(1, True), (2, True)]
            assert (told, live.wants_previews(1)) == ([(1, True), (2, True), (2, False)], True)
            live.add_preview(1, 0, b"old", "image/jpeg")
        assert told[3:] == [(1, False)]
        assert not live.previews(1), "who comes back later must not see an old one as news"
    assert not live._preview_viewers


def test_what_chats_ask_for_is_made_once_and_taken_once() -> None:
    live, demands = watched()
    changed: list[int] = []
    live._bus.subscribe(JobChanged, lambda event: changed.append(event.job_id))
    live.ask_for_previews(1)
    assert demands == [], "it is not being drawn"
    live.begin(1, 3)
    live.step(1, 0, 1.0)
    live.step(1, 1, 0.5)
    live.step(1, 2, 0.5)
    live.ask_for_previews(1)
    live.ask_for_previews(1)
    live.add_preview(1, 1, b"one", "image/jpeg")
    assert (demands, changed, live.take_previews(1)) == ([(1, True)], [], {}), "the other picture's is missing"
    live.add_preview(1, 2, b"two", "image/jpeg")
    assert (demands, changed) == ([(1, True), (1, False)], [1])
    assert {i: frame.data for i, frame in live.take_previews(1).items()} == {1: b"one", 2: b"two"}
    assert live.take_previews(1) == {}
    live.add_preview(1, 1, b"late", "image/jpeg")
    live.ask_for_previews(1)
    live.add_preview(1, 2, b"new", "image/jpeg")
    assert live.take_previews(1) == {}, "a preview from before the question does not count"
    live.add_preview(1, 2, b"newer", "image/jpeg")
    assert {i: frame.data for i, frame in live.take_previews(1).items()} == {2: b"newer"}, "the other one rests"
    live.ask_for_previews(1)
    live.end(1)
    assert demands[2:] == [(1, True), (1, False)] * 2
    assert not live._preview_viewers


async def test_several_jobs_are_viewed_at_once_and_a_step_gives_the_changed_ones() -> None:
    live, looked = watched()
    with live.subscribe([1, 2, 3], previews=True) as changes:
        assert await anext(changes) == (1, 2, 3)
        live.wake(3)
        live.wake(1)
        live.wake(3)
        live.wake(9)
        assert await anext(changes) == (1, 3)
        with live.subscribe((2,)) as other:
            assert await anext(other) == (2,)
            live.wake(2)
            assert await anext(other) == await anext(changes) == (2,)
    assert looked == [(1, True), (2, True), (3, True), (1, False), (2, False), (3, False)]
    assert not live._viewers


async def test_whoever_views_all_hears_of_every_job_and_of_none_before() -> None:
    live = Live(EventBus())
    live.wake(1)
    with live.subscribe_all() as changes:
        assert await anext(changes) == ()
        live.begin(3, 1)
        live.add_preview(3, 0, b"x", "image/png")
        live.on_job_changed(JobChanged(2))
        assert await anext(changes) == (2, 3)
    live.wake(4)
    assert not live._viewers_of_all


def test_previews_are_wanted_from_the_first_viewer_to_the_last() -> None:
    live, demands = watched()
    live.view_previews(7)
    live.view_previews(7)
    live.leave_previews(7)
    assert demands == [(7, True)]
    live.leave_previews(7)
    assert demands == [(7, True), (7, False)]
    assert not live.wants_previews(7)
