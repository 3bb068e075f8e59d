"""What RateLimiter lets through, Telegram takes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.telegram.rate_limit import RateLimiter
from bot.core.ports import RetryLater
from tests.fakes.telegram_limits import Flood
from tests.unit.adapters.telegram.conftest import Hand

STEPS = st.lists(
    st.tuples(
        st.sampled_from([-5, -6, 7]),
        st.integers(1, 4),
        st.sampled_from([0.0, 0.3, 1.05, 2.0, 9.0, 40.0]),
        st.sampled_from([0.0, 0.2]),
    ),
    max_size=80,
)


@settings(deadline=None)
@given(STEPS)
def test_what_is_let_through_is_taken(steps: list[tuple[int, int, float, float]]) -> None:
    clock = Hand()
    rate_limiter, flood = RateLimiter(clock=clock), Flood(clock=clock)
    waits: list[float] = []
    for chat, messages, before, on_the_way in steps:
        clock.now += before
        try:
            with rate_limiter.slot(chat, messages):
                # It is counted at the latest when its answer has come back.
                clock.now += on_the_way
                assert flood.admit(chat, messages, group=chat < 0) is None
        except RetryLater as busy:
            waits.append(busy.seconds)
    assert all(0 < wait <= 61 for wait in waits)


@settings(deadline=None)
@given(st.integers(1, 30))
def test_a_call_after_the_requested_wait_succeeds(n: int) -> None:
    clock = Hand()
    rate_limiter = RateLimiter(clock=clock)
    for _ in range(n):
        try:
            with rate_limiter.slot(-1):
                pass
        except RetryLater as busy:
            clock.now += busy.seconds + 1e-6
            with rate_limiter.slot(-1):
                pass


def test_a_chat_takes_one_call_at_a_time_and_others_are_free() -> None:
    rate_limiter = RateLimiter(clock=Hand())
    with rate_limiter.slot(1):
        with pytest.raises(RetryLater), rate_limiter.slot(1):
            pass
        with rate_limiter.slot(2):
            pass


def test_progress_is_left_out_before_a_group_is_full() -> None:
    clock = Hand()
    rate_limiter = RateLimiter(clock=clock)
    for _ in range(12):
        assert not rate_limiter.scarce(-1)
        with rate_limiter.slot(-1):
            clock.now += 1
        clock.now += 2
    assert rate_limiter.scarce(-1)
    assert not rate_limiter.scarce(1)
    clock.now += 60
    assert not rate_limiter.scarce(-1)


def test_a_chat_is_left_alone_as_long_as_telegram_asks() -> None:
    clock = Hand()
    rate_limiter = RateLimiter(clock=clock)
    rate_limiter.hold(1, 30)
    with pytest.raises(RetryLater) as busy, rate_limiter.slot(1):
        pass
    assert busy.value.seconds == pytest.approx(30)


def test_quiet_chats_are_forgotten() -> None:
    clock = Hand()
    rate_limiter = RateLimiter(clock=clock)
    for chat in range(5000):
        with rate_limiter.slot(chat):
            pass
        clock.now += 1
    assert len(rate_limiter._chats) < 1200


CROWD = st.lists(st.tuples(st.integers(1, 40), st.sampled_from([0.0, 0.0, 0.01, 0.4])), max_size=150)


@settings(deadline=None)
@given(CROWD)
def test_over_all_chats_no_second_has_more_than_thirty(calls: list[tuple[int, float]]) -> None:
    clock = Hand()
    rate_limiter, flood = RateLimiter(gap=0.0, clock=clock), Flood(clock=clock)
    waits: list[float] = []
    for chat, before in calls:
        clock.now += before
        try:
            with rate_limiter.slot(chat):
                # A chat may get messages at any rate here: only the limit over all chats is looked at.
                flood._sent.clear()
                assert flood.admit(chat, 1, group=False) is None
        except RetryLater as busy:
            waits.append(busy.seconds)
    assert all(0 < wait <= 3 * 1.05 for wait in waits)


def test_chats_that_the_overall_limit_puts_off_keep_their_order() -> None:
    clock = Hand()
    rate_limiter = RateLimiter(clock=clock)
    waits = [rate_limiter.wait(chat) or _send(rate_limiter, chat) for chat in range(1, 101)]
    assert waits[:30] == [0.0] * 30
    assert sorted(waits) == waits
    assert waits[-1] == pytest.approx(3 * 1.05)
    clock.now += 1.06
    # One that comes now does not pass those that were promised this second.
    assert rate_limiter.wait(999) > 0
    sent = [
        chat for chat in range(1, 101) if chat > 30 and rate_limiter.wait(chat) == 0 and not _send(rate_limiter, chat)
    ]
    assert sent == list(range(31, 61))


def test_progress_is_left_out_while_a_chat_waits_for_the_overall_limit() -> None:
    clock = Hand()
    rate_limiter = RateLimiter(clock=clock)
    for chat in range(1, 31):
        _send(rate_limiter, chat)
    assert not rate_limiter.scarce(77)
    assert rate_limiter.wait(31) > 0
    assert rate_limiter.scarce(77)
    clock.now += 5.0
    assert not rate_limiter.scarce(77)


def _send(rate_limiter: RateLimiter, chat: int) -> float:
    with rate_limiter.slot(chat):
        return 0.0
