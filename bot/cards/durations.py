"""Durations and numbers as people say them."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from functools import lru_cache

from babel.dates import format_timedelta
from babel.numbers import format_decimal

_UNSPACED = re.compile(r"(?<=[0-9])(?=[\u4e00-\u9fff])")
_UNITS = (86400, 3600, 60, 1)
_ROUNDING = ((10, 1), (60, 5), (2 * 3600, 60), (48 * 3600, 3600), (math.inf, 86400))


def rounded(seconds: float) -> timedelta:
    """Round up, so that nothing is promised too early: to whole seconds, 5 s from 10 s on, then to whole minutes,
    hours from 2 hours on, days from 2 days on.
    """
    seconds = max(1.0, seconds)
    step = next(step for below, step in _ROUNDING if seconds <= below)
    return timedelta(seconds=math.ceil(seconds / step) * step)


def spoken(seconds: float, locale: str) -> str:
    """Return "20 seconds", "3 minutes", rounded up."""
    return _format(seconds, locale, add_direction=False)


def from_now(seconds: float, locale: str) -> str:
    """Return "in 3 hours", rounded up."""
    return _format(seconds, locale, add_direction=True)


def ends(low: float, high: float, locale: str) -> tuple[str, str]:
    """Return both ends of a range as they are spoken, both rounded up: ("2", "4 minutes"), ("45 seconds", "2 minutes").

    The first is empty when both are the same.
    """
    first, last = rounded(low), rounded(high)
    if first >= last:
        return "", spoken(high, locale)
    unit = _unit(first)
    if unit != _unit(last):
        return spoken(low, locale), spoken(high, locale)
    return str(int(first.total_seconds() // unit)), spoken(high, locale)


def _unit(delta: timedelta) -> int:
    """Seconds of the unit that a rounded time is spoken in: the larger one from two of it on, minutes from the first."""
    seconds = delta.total_seconds()
    return next(unit for unit in _UNITS if seconds >= (2 * unit if unit > 60 else unit))


def _format(seconds: float, locale: str, *, add_direction: bool) -> str:
    delta = rounded(seconds)
    # Babel goes to the larger unit from this many of it on: 90 minutes stay minutes, 36 hours stay hours.
    threshold = 1.0 if delta.total_seconds() <= 60 else 2.0
    said = format_timedelta(delta, threshold=threshold, add_direction=add_direction, locale=locale)
    # The catalogues set a space between digits and Chinese; CLDR does not.
    return _UNSPACED.sub(" ", said)


@lru_cache(maxsize=4096)
def number(value: float, locale: str) -> str:
    """Return the number with at most two digits after the point, without grouping."""
    return format_decimal(value, format="0.##", locale=locale)
