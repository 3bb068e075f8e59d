"""How much may be with a slot at once."""

from __future__ import annotations

import pytest

from bot.core.ports import Ticket
from bot.dispatch.in_flight import InFlight, InFlightBatch
from bot.queue.fair_queue import WorkItem
from engine.contract import Recipe

PICTURE = 64 * 64 * 8


def item(steps: int = 8, *, solo: bool = False) -> WorkItem:
    return WorkItem(Ticket(1, 1, 1, ("a",), "demo", 64 * 64 * steps), (0,), solo=solo)


def batch(count: int = 8, steps: int = 8, per_step: int = 8, *, solo: bool = False) -> InFlightBatch:
    return InFlightBatch([Recipe(f"{n}", "demo", "", "", 64, 64, steps, 0.0, n) for n in range(count)], per_step, solo)


def test_an_idle_engine_takes_anything() -> None:
    assert InFlight(1).fits(item(solo=True))


def test_one_more_batch_fits_and_no_second() -> None:
    in_flight = InFlight(8)
    in_flight.add(batch())
    assert in_flight.fits(item())
    second = batch()
    in_flight.add(second)
    assert not in_flight.fits(item())
    for n in range(4):
        second.discard(f"{n}")
    assert in_flight.fits(item()), "half a batch is left beside the one that is drawn"


def test_never_more_batches_than_slots() -> None:
    in_flight = InFlight(2)
    for _ in range(2):
        assert in_flight.fits(item())
        in_flight.add(batch(1))
    assert not in_flight.fits(item())


def test_large_pictures_fill_it_one_by_one() -> None:
    in_flight = InFlight(8)
    large = batch(4, per_step=1)
    in_flight.add(large)
    assert not in_flight.fits(item())
    for n in range(3):
        large.discard(f"{n}")
    assert in_flight.fits(item()), "the last one is drawn: the next may come"


def test_a_short_picture_fits_though_it_overtakes_long_ones() -> None:
    in_flight = InFlight(8)
    for _ in range(2):
        in_flight.add(batch(steps=50))
    assert in_flight.fits(item(8))
    assert not in_flight.fits(item(50))


def test_a_long_picture_that_is_nearly_done_is_not_overtaken() -> None:
    in_flight = InFlight(8)
    nearly = [batch(steps=50), batch(steps=50)]
    for one in nearly:
        in_flight.add(one)
        for n in range(8):
            one.set_progress(f"{n}", 0.9)
    assert nearly[0].remaining["0"] == pytest.approx(64 * 64 * 5, abs=1)
    assert not in_flight.fits(item(8))


def test_an_item_of_a_lost_batch_is_alone() -> None:
    in_flight = InFlight(8)
    one = batch(1)
    in_flight.add(one)
    assert not in_flight.fits(item(solo=True))
    in_flight.remove(one)
    in_flight.add(batch(1, solo=True))
    assert not in_flight.fits(item())


def test_unknown_recipes_change_nothing() -> None:
    one = batch(1)
    one.discard("nobody")
    one.set_progress("nobody", 0.5)
    assert one.remaining == {"0": PICTURE}
