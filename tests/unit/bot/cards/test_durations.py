"""Durations: rounded up, in the largest unit that still tells something."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.cards.durations import ends, from_now, number, rounded, spoken


@pytest.mark.parametrize(
    ("seconds", "english", "chinese"),
    [
        (0, "1 second", "1 秒钟"),
        (8.1, "9 seconds", "9 秒钟"),
        (12, "15 seconds", "15 秒钟"),
        (58, "1 minute", "1 分钟"),
        (61, "2 minutes", "2 分钟"),
        (5400, "90 minutes", "90 分钟"),
        (7200, "2 hours", "2 小时"),
        (7201, "3 hours", "3 小时"),
        (40 * 3600, "40 hours", "40 小时"),
        (49 * 3600, "3 days", "3 天"),
        (7 * 86400, "7 days", "7 天"),
    ],
)
def test_durations_are_spoken(seconds: float, english: str, chinese: str) -> None:
    assert spoken(seconds, "en") == english
    assert spoken(seconds, "zh_CN") == chinese
    assert from_now(seconds, "en") == f"in {english}"
    assert from_now(seconds, "zh_CN") == f"{chinese}后"


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0, 1, ("", "1 second")),
        (1.5, 8.1, ("2", "9 seconds")),
        (45, 90, ("45 seconds", "2 minutes")),
        (59, 61, ("1", "2 minutes")),
        (61, 190, ("2", "4 minutes")),
        (100, 119, ("", "2 minutes")),
        (6000, 8000, ("100 minutes", "3 hours")),
        (7300, 20000, ("3", "6 hours")),
        (50 * 3600, 90 * 3600, ("3", "4 days")),
    ],
)
def test_ranges_are_spoken_in_one_unit_where_they_can(low: float, high: float, said: tuple[str, str]) -> None:
    assert ends(low, high, "en") == said


@given(st.floats(-10, 8 * 86400))
def test_a_wait_is_rounded_up_and_not_by_much(seconds: float) -> None:
    said = rounded(seconds).total_seconds()
    assert said >= seconds
    assert said <= max(2.0, 2 * seconds)


@pytest.mark.parametrize(("value", "said"), [(0.0, "0"), (4.5, "4.5"), (1.239, "1.24"), (12345.6, "12345.6"), (7, "7")])
def test_numbers_are_short(value: float, said: str) -> None:
    assert number(value, "en") == number(value, "zh_CN") == said
