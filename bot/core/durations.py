"""Lengths of time as people type them: ``3 days``, ``12h``, ``2周``."""

from __future__ import annotations

import re

from bot.core.errors import BadInput
from bot.core.texts import fold, shown

MOST_SECONDS = 10 * 365 * 86400
"""Longest span that is taken; more is for good in all but name."""

_UNITS = {
    1: {"s", "sec", "secs", "second", "seconds", "秒"},
    60: {"m", "min", "mins", "minute", "minutes", "分", "分钟"},
    3600: {"h", "hr", "hrs", "hour", "hours", "小时", "个小时", "时"},
    86400: {"d", "day", "days", "天", "日"},
    604800: {"w", "week", "weeks", "周", "星期", "个星期", "礼拜", "个礼拜"},
    30 * 86400: {"month", "months", "月", "个月"},
    365 * 86400: {"y", "year", "years", "年"},
}
_SECONDS = {name: seconds for seconds, names in _UNITS.items() for name in names}
_PART = re.compile(r"([0-9]+(?:\.[0-9]{1,3})?)\s*([^\W\d_]+)\s*")


FOR_GOOD = frozenset({"forever", "always", "off", "永久", "一直", "永远", "关闭"})
"""What people type for no end at all, where that makes sense."""


def is_for_good(text: str) -> bool:
    """Whether somebody typed that something shall have no end."""
    return fold(text) in FOR_GOOD


def parse_span(text: str) -> float:
    """Read a length of time; several parts add up (``1 day 12h``).

    Returns:
        Seconds, above 0.

    Raises:
        BadInput: It can't be read, is 0, or is longer than ``MOST_SECONDS``.
    """
    seconds = _seconds(text)
    if not seconds:
        raise BadInput("refusal.span", value=shown(text))
    if seconds > MOST_SECONDS:
        raise BadInput("refusal.span_too_long", value=shown(text))
    return seconds


def is_span(text: str) -> bool:
    """Whether the text is written like a length of time, one that ``parse_span`` refuses for its length included."""
    return _seconds(text) is not None


def _seconds(text: str) -> float | None:
    """Return the length in seconds, infinite for absurdly many digits; None where the text is written otherwise."""
    folded = fold(text)
    seconds, end = 0.0, 0
    while part := _PART.match(folded, end):
        unit = _SECONDS.get(part[2])
        if unit is None:
            return None
        seconds += float(part[1]) * unit
        end = part.end()
    return seconds if end and end == len(folded) else None
