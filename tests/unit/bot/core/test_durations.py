"""Lengths of time as they are typed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.durations import MOST_SECONDS, parse_span
from bot.core.errors import BadInput

HOUR, DAY = 3600, 86400


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [
        ("3 days", 3 * DAY),
        ("12h", 12 * HOUR),
        ("2周", 14 * DAY),
        ("１２小时", 12 * HOUR),
        ("1 day 12 h", 36 * HOUR),
        ("1d12h", 36 * HOUR),
        ("1.5 hours", 1.5 * HOUR),
        ("30 分钟", 1800),
        ("3个月", 90 * DAY),
        ("90 SECONDS", 90),
    ],
)
def test_spans_are_read(typed: str, seconds: float) -> None:
    assert parse_span(typed) == seconds


@pytest.mark.parametrize("typed", ["", "3", "days", "0 days", "-1 day", "3 fortnights", "3 days later", "h3"])
def test_what_is_no_span_is_refused(typed: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_span(typed)
    assert refused.value.key == "refusal.span"


def test_absurd_spans_are_refused() -> None:
    assert parse_span("10 years") == MOST_SECONDS
    for typed in ("11 years", "99999999d", "9999999999 days", "9" * 400 + "d"):
        with pytest.raises(BadInput) as refused:
            parse_span(typed)
        assert refused.value.key == "refusal.span_too_long", typed


@given(st.text())
def test_any_text_is_a_span_or_refused(typed: str) -> None:
    try:
        assert 0 < parse_span(typed) <= MOST_SECONDS
    except BadInput:
        return
