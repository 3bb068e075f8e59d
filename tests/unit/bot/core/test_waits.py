"""Pauses grow up to a limit, and begin again after a success."""

from __future__ import annotations

from bot.core.waits import ExponentialBackoff, TokenBucket


def test_pauses_double_up_to_the_longest() -> None:
    backoff = ExponentialBackoff(first=1.0, longest=60.0)
    assert [backoff.fail() for _ in range(8)] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    backoff.tries = 10**6
    assert backoff.pause == 60.0


def test_a_success_restarts_with_the_first_pause() -> None:
    backoff = ExponentialBackoff(first=5.0, longest=300.0)
    backoff.fail()
    backoff.fail()
    backoff.succeed()
    assert (backoff.pause, backoff.fail()) == (5.0, 5.0)


def test_a_requested_pause_is_the_least_pause() -> None:
    backoff = ExponentialBackoff(first=1.0, longest=60.0)
    assert backoff.fail(at_least=90.0) == 90.0
    assert backoff.fail(at_least=0.5) == 2.0


def test_a_burst_is_free_and_one_more_is_not() -> None:
    bucket = TokenBucket(10, 5)
    bucket.take(100.0, 5)
    assert not bucket.is_empty(100.0)
    bucket.take(100.0)
    assert bucket.is_empty(100.0)


def test_it_fills_with_time() -> None:
    bucket = TokenBucket(10, 5)
    bucket.take(100.0, 10)
    assert bucket.is_empty(100.4)
    assert not bucket.is_empty(100.6)


def test_a_pause_earns_no_more_than_a_burst() -> None:
    bucket = TokenBucket(10, 5)
    bucket.take(100.0)
    bucket.take(1000.0, 6)
    assert bucket.is_empty(1000.0)
