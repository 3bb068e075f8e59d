"""Terms of quota rules: parsing (``20/day at-once 2``), formatting, and the stored form."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from bot.core.errors import BadInput
from bot.core.quotas import Dimension, Limit, RuleTerms, Unit, Window
from bot.core.texts import fold, shown, whole

MAX_AMOUNT = 1_000_000
"""Largest amount of pictures, points or requests in a rule; more would be unlimited in practice."""

MAX_SIDE = 16384
"""Longest side in a rule, in pixels."""

_WINDOWS = {
    Window.HOUR: ("hours", "hour", "hr", "h", "个小时", "小时", "时"),
    Window.CALENDAR: ("calendar day", "calendar days", "calendar-day", "calendar", "自然日", "日历日"),
    Window.DAY: ("days", "day", "d", "天", "日"),
    Window.WEEK: ("weeks", "week", "w", "周", "星期", "礼拜"),
}
_BY_NAME = {name: window for window, names in _WINDOWS.items() for name in names}
_UNLIMITED = ("no limit", "unlimited", "none", "off", "不限量", "无限制", "不限", "无限")


def _any_of(names: Mapping[str, object] | tuple[str, ...]) -> str:
    # Longest first, or "day" would match in "days".
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))


_WINDOW = rf"(?P<window>{_any_of(_BY_NAME)})"
_UNIT = r"(?:(?P<points>points?|点|积分)|pictures?|张|次)?"
_NUMBER = r"(?P<number>[0-9]+)"
_IS = r"\s*[:=]?\s*"
_MODEL = r"[^\s,、;]+"
_END = r"(?![a-z0-9_])"
_SKIPPED = re.compile(r"(?:[\s,;、]|and\b|和)*")
_WORD = re.compile(r"[^\s,;、]+")

_LIMIT = rf"{_NUMBER}\s*{_UNIT}\s*(?:/|per\b|a\b|an\b|每)\s*个?{_WINDOW}"
_LIMIT_ZH = rf"每个?{_WINDOW}\s*{_NUMBER}\s*{_UNIT}"


def parse_terms(text: str) -> RuleTerms:
    """Parse a rule: ``20/day``, ``5/hour 20/day``, ``40 points/day``, ``20/calendar day``, ``at-once 2``, ``count 2``,
    ``size 1024x1024``, ``steps 12``, ``models demo,sdxl`` and ``unlimited``, in any order, in English and Chinese.

    Raises:
        BadInput: A word is no part of a rule (names the word), a number is too large, or a part is there twice.
    """
    folded = fold(text)
    terms, at = RuleTerms(), _SKIPPED.match(folded)
    position = at.end() if at else 0
    while position < len(folded):
        for pattern, put in _PARTS:
            if found := pattern.match(folded, position):
                terms = put(terms, found)
                position = found.end()
                break
        else:
            raise _unknown(folded, position)
        if (skipped := _SKIPPED.match(folded, position)) is not None:
            position = skipped.end()
    if terms == RuleTerms():
        raise BadInput("refusal.quota.rule", value=shown(text))
    return terms


def format_limit(limit: Limit) -> str:
    """Return a limit as ``parse_terms`` reads it."""
    if limit.amount is None:
        return "unlimited"
    unit = " points" if limit.unit is Unit.POINTS else ""
    window = "calendar day" if limit.window is Window.CALENDAR else limit.window.value
    return f"{limit.amount}{unit}/{window}"


def format_terms(terms: RuleTerms) -> str:
    """Return terms as ``parse_terms`` reads them."""
    parts = [format_limit(limit) for limit in terms.limits]
    numbers = (("at-once", terms.at_once), ("count", terms.count), ("steps", terms.steps))
    parts += [f"{word} {number}" for word, number in numbers if number is not None]
    if terms.pixels is not None:
        parts.append(f"size {format_pixels(terms.pixels)}")
    if terms.models is not None:
        parts.append(f"models {','.join(sorted(terms.models))}")
    return " ".join(parts)


def format_pixels(pixels: int) -> str:
    """Return a number of pixels as the size nearest to a square, such as ``1024x1024``."""
    short = next(side for side in range(math.isqrt(pixels), 0, -1) if pixels % side == 0)
    return f"{pixels // short}x{short}"


def dump_terms(terms: RuleTerms) -> dict[str, Any]:
    """Return terms as a JSON object, with only the values that are set."""
    values: dict[str, Any] = {}
    if terms.limits:
        values["limits"] = [
            {"amount": limit.amount, "window": limit.window.value, "unit": limit.unit.value} for limit in terms.limits
        ]
    for name in ("at_once", "count", "pixels", "steps"):
        if (value := getattr(terms, name)) is not None:
            values[name] = value
    if terms.models is not None:
        values["models"] = sorted(terms.models)
    return values


def load_terms(values: Mapping[str, Any]) -> RuleTerms:
    """Return stored terms; values that an older Easel did not store get their default."""
    models = values.get("models")
    return RuleTerms(
        limits=tuple(
            Limit(each["amount"], Window(each["window"]), Unit(each.get("unit", Unit.PICTURES)))
            for each in values.get("limits", ())
        ),
        at_once=values.get("at_once"),
        count=values.get("count"),
        pixels=values.get("pixels"),
        steps=values.get("steps"),
        models=None if models is None else frozenset(models),
    )


def _unknown(folded: str, position: int) -> BadInput:
    word = _WORD.match(folded, position)
    return BadInput("refusal.quota.rule", value=shown(word[0] if word else folded[position:]))


def _limit(terms: RuleTerms, found: re.Match[str]) -> RuleTerms:
    number = _checked(found, found["number"], low=0)
    limit = Limit(number, _BY_NAME[found["window"]], Unit.POINTS if found["points"] else Unit.PICTURES)
    if terms.exempt:
        raise BadInput("refusal.quota.twice", value=shown(found[0]))
    if any((limit.window, limit.unit) == (other.window, other.unit) for other in terms.limits):
        raise BadInput("refusal.quota.twice", value=shown(found[0]))
    return replace(terms, limits=(*terms.limits, limit))


def _unlimited(terms: RuleTerms, found: re.Match[str]) -> RuleTerms:
    if terms.limits:
        raise BadInput("refusal.quota.twice", value=shown(found[0]))
    return replace(terms, limits=(Limit(None),))


def _size(terms: RuleTerms, found: re.Match[str]) -> RuleTerms:
    width = _checked(found, found["width"], most=MAX_SIDE)
    height = _checked(found, found["height"], most=MAX_SIDE) if found["height"] else width
    return _once(terms, found, Dimension.PIXELS, width * height)


def _models(terms: RuleTerms, found: re.Match[str]) -> RuleTerms:
    return _once(terms, found, Dimension.MODELS, frozenset(re.split("[,、]", found["models"])))


def _counted(dimension: Dimension) -> Callable[[RuleTerms, re.Match[str]], RuleTerms]:
    def put(terms: RuleTerms, found: re.Match[str]) -> RuleTerms:
        return _once(terms, found, dimension, _checked(found, found["number"]))

    return put


def _once(terms: RuleTerms, found: re.Match[str], dimension: Dimension, value: Any) -> RuleTerms:
    if terms.sets(dimension):
        raise BadInput("refusal.quota.twice", value=shown(found[0]))
    values: dict[str, Any] = {dimension.value: value}
    return replace(terms, **values)


def _checked(found: re.Match[str], digits: str, *, low: int = 1, most: int = MAX_AMOUNT) -> int:
    number = whole(digits)
    assert number is not None, "the patterns match digits alone"
    if number > most:
        raise BadInput("refusal.quota.rule_too_large", value=shown(found[0]), most=most)
    if number < low:
        raise BadInput("refusal.quota.rule", value=shown(found[0]))
    return number


_PARTS: tuple[tuple[re.Pattern[str], Callable[[RuleTerms, re.Match[str]], RuleTerms]], ...] = tuple(
    (re.compile(pattern + _END), put)
    for pattern, put in (
        (_LIMIT, _limit),
        (_LIMIT_ZH, _limit),
        (rf"(?:{_any_of(_UNLIMITED)})", _unlimited),
        (rf"(?:at[- ]once|waiting|同时|排队){_IS}{_NUMBER}\s*(?:个|张)?", _counted(Dimension.AT_ONCE)),
        (rf"(?:count|in one go|每次|一次|单次){_IS}{_NUMBER}\s*张?", _counted(Dimension.COUNT)),
        (rf"(?:steps|步数){_IS}{_NUMBER}\s*步?", _counted(Dimension.STEPS)),
        (rf"(?:size|尺寸|大小){_IS}(?P<width>[0-9]+)(?:\s*[x×*]\s*(?P<height>[0-9]+))?", _size),
        (rf"(?:models?(?:\s*[:=]\s*|\s+)|模型{_IS})(?P<models>{_MODEL}(?:[,、]{_MODEL})*)", _models),
    )
)
