"""Enough is with the engine that it never waits, and little enough that the queue still decides who is next."""

from __future__ import annotations

import pytest

from bot.core.ports import Ticket
from bot.dispatch.batcher import InFlight, InFlightBatch
from bot.queue.work_item import WorkItem
from engine.contract import Recipe

PICTURE = 64 * 64 * 8


def work(steps: int = 8, *, solo: bool = False) -> WorkItem:
    return WorkItem(Ticket(1, 1, 1, ("a",), "demo", 64 * 64 * steps), (0,), solo=solo)


def batch(count: int = 8, steps: int = 8, room: int = 8, *, solo: bool = False) -> InFlightBatch:
    return InFlightBatch([Recipe(f"{n}", "demo", "", "", 64, 64, steps, 0.0, n) for n in range(count)], room, solo)


def test_an_idle_engine_takes_anything() -> None:
    assert InFlight(1).fits(work(solo=True))


def test_the_next_batch_waits_there_and_no_more() -> None:
    window = InFlight(8)
    window.begin(batch())
    assert window.fits(work())
    second = batch()
    window.begin(second)
    assert not window.fits(work())
    for n in range(4):
        second.ended(f"{n}")
    assert window.fits(work()), "half a batch is left beside the one that is drawn"


def test_never_more_batches_than_it_is_worth() -> None:
    window = InFlight(2)
    for _ in range(2):
        assert window.fits(work())
        window.begin(batch(1))
    assert not window.fits(work())


def test_large_pictures_fill_it_one_by_one() -> None:
    window = InFlight(8)
    large = batch(4, room=1)
    window.begin(large)
    assert not window.fits(work())
    for n in range(3):
        large.ended(f"{n}")
    assert window.fits(work()), "the last one is drawn: the next may come"


def test_a_short_one_is_let_past_long_ones() -> None:
    window = InFlight(8)
    for _ in range(2):
        window.begin(batch(steps=50))
    assert window.fits(work(8))
    assert not window.fits(work(50))


def test_a_long_one_that_is_nearly_done_is_not_passed() -> None:
    window = InFlight(8)
    nearly = [batch(steps=50), batch(steps=50)]
    for one in nearly:
        window.begin(one)
        for n in range(8):
            one.stepped(f"{n}", 0.9)
    assert nearly[0].left["0"] == pytest.approx(64 * 64 * 5, abs=1)
    assert not window.fits(work(8))


def test_what_was_in_a_lost_batch_is_alone() -> None:
    window = InFlight(8)
    one = batch(1)
    window.begin(one)
    assert not window.fits(work(solo=True))
    window.end(one)
    window.begin(batch(1, solo=True))
    assert not window.fits(work())


def test_strangers_change_nothing() -> None:
    one = batch(1)
    one.ended("nobody")
    one.stepped("nobody", 0.5)
    assert one.left == {"0": PICTURE}
