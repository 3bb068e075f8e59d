"""Expected durations: medians of measurements, and estimates for unmeasured kinds."""

from __future__ import annotations

import pytest

from bot.core.ports import Ticket
from bot.queue.timing import KEPT, KINDS, DurationEstimate, SlotSpeeds

KIND = Ticket(1, 1, 1, ("kind",), "m", 100)


def ticket(kind: str | int, model: str = "", work: int = 0) -> Ticket:
    return Ticket(1, 1, 1, (kind,), model, work)


def test_unknown_until_measured() -> None:
    estimate = DurationEstimate()
    assert estimate.seconds(ticket("a")) is None
    estimate.measured(ticket("a"), 2.0)
    assert estimate.seconds(ticket("a")) == 2.0
    assert estimate.seconds(ticket("b")) is None


def test_an_outlier_changes_little() -> None:
    estimate = DurationEstimate()
    for seconds in (2.0, 2.0, 90.0):
        estimate.measured(ticket("a"), seconds)
    assert estimate.seconds(ticket("a")) == 2.0


def test_a_change_of_device_is_followed() -> None:
    estimate = DurationEstimate()
    for seconds in [10.0] * 100 + [1.0] * KEPT:
        estimate.measured(ticket("a"), seconds)
    assert estimate.seconds(ticket("a")) == 1.0


def test_the_least_recently_measured_kind_is_forgotten() -> None:
    estimate = DurationEstimate()
    for kind in range(KINDS):
        estimate.measured(ticket(kind), 1.0)
    estimate.measured(ticket(0), 1.0)
    estimate.measured(ticket("one more"), 1.0)
    assert estimate.seconds(ticket(1)) is None
    assert estimate.seconds(ticket(0)) == 1.0


def test_an_unmeasured_kind_is_estimated_at_the_rate_of_its_model() -> None:
    estimate = DurationEstimate()
    estimate.measured(ticket("small", "slow", 100), 3.0)
    estimate.measured(ticket("small", "quick", 100), 1.0)
    assert estimate.seconds(ticket("large", "slow", 400)) == pytest.approx(12.0)
    assert estimate.seconds(ticket("large", "quick", 400)) == pytest.approx(4.0)
    assert estimate.seconds(ticket("large", "new", 400)) == pytest.approx(8.0), "like every model together"
    estimate.measured(ticket("large", "slow", 400), 20.0)
    assert estimate.seconds(ticket("large", "slow", 400)) == 20.0, "measured beats scaled"


def test_without_measurements_costs_are_proportional_to_work() -> None:
    estimate = DurationEstimate()
    assert estimate.cost(ticket("large", "m", 400)) == pytest.approx(4 * estimate.cost(ticket("small", "m", 100)))
    assert estimate.cost(ticket("none")) > 0
    estimate.measured(ticket("small", "m", 100), 5.0)
    assert estimate.cost(ticket("small", "m", 100)) == 5.0


def measured(speeds: SlotSpeeds, slot: str, ticket: Ticket, *seconds: float) -> list[float]:
    return [speeds.measured(slot, ticket, one) for one in seconds]


def test_one_slot_is_the_reference() -> None:
    estimate = DurationEstimate()
    speeds = SlotSpeeds(estimate)
    assert measured(speeds, "a", KIND, 2.0, 3.0, 4.0) == [2.0, 3.0, 4.0]
    assert estimate.seconds(KIND) == 3.0
    assert speeds.of("a") == 1.0


def test_the_speed_of_another_slot_is_measured_by_the_same_kind_of_work() -> None:
    estimate = DurationEstimate()
    speeds = SlotSpeeds(estimate)
    measured(speeds, "slow", KIND, *[4.0] * 3)
    assert measured(speeds, "fast", KIND, *[1.0] * 20) == [4.0] * 20
    assert speeds.of("fast") == 4.0
    assert speeds.of("slow") == 1.0, "however much the other one draws"
    assert estimate.seconds(KIND) == 4.0
    assert speeds.of("new") == 1.0


def test_an_outlier_changes_no_speed() -> None:
    speeds = SlotSpeeds(DurationEstimate())
    measured(speeds, "a", KIND, *[2.0] * 5)
    measured(speeds, "b", KIND, *[1.0] * 5, 60.0)
    assert speeds.of("b") == 2.0


def test_a_kind_that_the_first_slot_never_drew_is_measured_by_its_work() -> None:
    estimate = DurationEstimate()
    speeds = SlotSpeeds(estimate)
    measured(speeds, "a", Ticket(1, 1, 1, ("small",), "m", 100), 1.0)
    measured(speeds, "b", Ticket(2, 1, 1, ("large",), "m", 400), 2.0)
    assert speeds.of("b") == pytest.approx(2.0)
    assert estimate.seconds(Ticket(3, 1, 1, ("large",), "m", 400)) == pytest.approx(4.0)


def test_the_reference_stays_when_the_first_slot_is_gone() -> None:
    speeds = SlotSpeeds(DurationEstimate())
    measured(speeds, "a", KIND, *[4.0] * 5)
    measured(speeds, "b", KIND, *[2.0] * 5)
    measured(speeds, "c", KIND, *[1.0] * 5)
    speeds.keep({"b", "c"})
    for _ in range(100):
        measured(speeds, "b", KIND, 2.0)
        measured(speeds, "c", KIND, 1.0)
    assert (speeds.of("b"), speeds.of("c")) == (2.0, 4.0)
    measured(speeds, "b", KIND, *[4.0] * KEPT)
    measured(speeds, "c", KIND, *[1.0] * KEPT)
    assert (speeds.of("b"), speeds.of("c")) == (2.0, 8.0), "the one that took its place is the measure now"


def test_pictures_that_share_steps_are_compared_with_others_that_do() -> None:
    speeds = SlotSpeeds(DurationEstimate())
    for seconds, together in ((4.0, 1), (1.0, 4)):
        speeds.measured("a", KIND, seconds, together)
    for _ in range(5):
        speeds.measured("b", KIND, 0.5, 4)
    assert speeds.of("b") == 2.0


def test_a_picture_that_took_no_time_makes_no_slot_infinitely_slow() -> None:
    speeds = SlotSpeeds(DurationEstimate())
    work = Ticket(1, 1, 1, ("kind",), "m", 100)
    measured(speeds, "a", work, 0.0)
    measured(speeds, "b", work, 2.0, 0.0)
    assert (speeds.of("a"), speeds.of("b")) == (1.0, 1.0)
