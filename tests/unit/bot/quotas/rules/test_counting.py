"""Windows: rolling ones, and calendar days in the place's time zone."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.quotas import Window
from bot.quotas.rules import returns_at, since, zone_of

BERLIN = ZoneInfo("Europe/Berlin")


def moment(text: str, zone: ZoneInfo = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def test_windows_roll() -> None:
    assert [1e9 - since(w, 1e9, UTC) for w in (Window.HOUR, Window.DAY, Window.WEEK)] == [3600, 86400, 604800]
    assert returns_at(Window.HOUR, 1e9 - 60, 1e9, UTC) == 1e9 + 3540


@pytest.mark.parametrize(
    ("now", "begin", "end"),
    [
        ("2026-11-24T00:00:00", "2026-11-24T00:00:00", "2026-11-25T00:00:00"),
        ("2026-11-24T23:59:59", "2026-11-24T00:00:00", "2026-11-25T00:00:00"),
        ("2026-03-29T12:00:00", "2026-03-29T00:00:00", "2026-03-30T00:00:00"),  # 23 hours long
        ("2026-10-25T12:00:00", "2026-10-25T00:00:00", "2026-10-26T00:00:00"),  # 25 hours long
    ],
)
def test_a_calendar_day_is_the_places_own(now: str, begin: str, end: str) -> None:
    # What was counted on the stroke of midnight is of this day.
    assert (
        since(Window.CALENDAR, moment(now), BERLIN) < moment(begin) <= since(Window.CALENDAR, moment(now), BERLIN) + 1
    )
    assert returns_at(Window.CALENDAR, moment(begin), moment(now), BERLIN) == moment(end)


def test_days_have_their_length() -> None:
    days = [moment(f"2026-{day}T12:00:00") for day in ("03-29", "10-25", "11-24")]
    lengths = [returns_at(Window.CALENDAR, 0.0, d, BERLIN) - since(Window.CALENDAR, d, BERLIN) for d in days]
    assert [round(length / 3600) for length in lengths] == [23, 25, 24]


@given(st.floats(0, 4e9), st.sampled_from(("UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns", "Pacific/Apia")))
def test_now_is_always_inside(now: float, name: str) -> None:
    zone = zone_of(name)
    for window in Window:
        assert since(window, now, zone) < now
        assert now < returns_at(window, now, now, zone)


@pytest.mark.parametrize("name", [None, 5, "", "Mars/Olympus", "../../etc/passwd", "\0"])
def test_what_is_no_zone_is_utc(name: object) -> None:
    assert zone_of(name) is UTC
