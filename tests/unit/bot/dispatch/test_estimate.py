"""The median of what was measured last."""

from __future__ import annotations

from bot.dispatch.estimate import KEPT, KINDS, Estimate


def test_unknown_until_measured() -> None:
    estimate = Estimate()
    assert estimate.seconds("a") is None
    estimate.measured("a", 2.0)
    assert estimate.seconds("a") == 2.0
    assert estimate.seconds("b") is None


def test_one_odd_value_changes_little() -> None:
    estimate = Estimate()
    for seconds in (2.0, 2.0, 90.0):
        estimate.measured("a", seconds)
    assert estimate.seconds("a") == 2.0


def test_a_change_of_device_is_followed() -> None:
    estimate = Estimate()
    for seconds in [10.0] * 100 + [1.0] * KEPT:
        estimate.measured("a", seconds)
    assert estimate.seconds("a") == 1.0


def test_what_was_seen_longest_ago_is_forgotten() -> None:
    estimate = Estimate()
    for kind in range(KINDS):
        estimate.measured(kind, 1.0)
    estimate.measured(0, 1.0)
    estimate.measured("one more", 1.0)
    assert estimate.seconds(1) is None
    assert estimate.seconds(0) == 1.0
