"""Expected durations: medians of measurements, and estimates for unmeasured kinds."""

from __future__ import annotations

import pytest

from bot.core.ports import Ticket
from bot.queue.timing import KEPT, KINDS, DurationEstimate


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
