"""Where a limit's window begins, and when what was used in it comes back."""

from __future__ import annotations

import math
from datetime import UTC, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bot.core.quotas import Window


def zone_of(name: object) -> tzinfo:
    """Return the time zone of an IANA name; UTC where it is none (any more)."""
    if not isinstance(name, str):
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def since(window: Window, now: float, zone: tzinfo) -> float:
    """Return the moment after which uses count, in Unix seconds."""
    if window is not Window.CALENDAR:
        return now - window.seconds
    # What is counted on the stroke of midnight belongs to the new day.
    return math.nextafter(_midnight(now, zone, days=0), -math.inf)


def returns_at(window: Window, at: float, now: float, zone: tzinfo) -> float:
    """Return when a use of the moment ``at`` counts no more, in Unix seconds."""
    return _midnight(now, zone, days=1) if window is Window.CALENDAR else at + window.seconds


def _midnight(now: float, zone: tzinfo, *, days: int) -> float:
    day = datetime.fromtimestamp(now, zone).date() + timedelta(days=days)
    return datetime.combine(day, time(), zone).timestamp()
