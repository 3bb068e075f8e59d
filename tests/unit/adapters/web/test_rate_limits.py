"""Token buckets: so many at once, so many in the long run, and bounded memory."""

from __future__ import annotations

import pytest

from adapters.web import rate_limits
from adapters.web.rate_limits import RateLimit


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_then_the_rate() -> None:
    clock = Clock()
    limit = RateLimit(per_minute=6, burst=3, clock=clock)
    assert [limit.take("a") for _ in range(3)] == [0, 0, 0]
    assert limit.take("a") == limit.wait("a") == pytest.approx(10)
    assert limit.take("b") == 0
    clock.now += 10
    assert limit.wait("a") == 0
    assert limit.take("a") == 0
    assert limit.take("a") > 0
    clock.now += 1e6
    assert [limit.take("a") > 0 for _ in range(4)] == [False, False, False, True]


def test_refused_requests_cost_nothing_more() -> None:
    clock = Clock()
    limit = RateLimit(per_minute=60, burst=1, clock=clock)
    limit.take("a")
    for _ in range(100):
        assert limit.take("a") == pytest.approx(1)


def test_what_is_given_back_can_be_taken_again() -> None:
    limit = RateLimit(per_minute=1, burst=1, clock=Clock())
    limit.give_back("a")
    assert limit.take("a") == 0
    limit.give_back("a")
    assert [limit.take("a") > 0 for _ in range(2)] == [False, True]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "MOST_BUCKETS", 10)
    limit = RateLimit(per_minute=1, burst=1, clock=Clock())
    for number in range(100):
        limit.take(str(number))
    assert len(limit._buckets) == 10
    assert limit.take("99") > 0
    assert limit.take("0") == 0
