"""Reads what somebody types to find pictures: words, and filters such as ``seed:7 before:2026-11-01``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from bot.core.errors import BadInput
from bot.core.recipes import MAX_SEED
from bot.core.texts import bounded, fold, lower, shown
from bot.history import segmentation
from bot.history.model import Query

QUERY_CHARS = 200
"""Longest search that is taken, in characters."""

MOST_WORDS = 32
"""More words than anybody types; pairs of Chinese characters count as words."""

_KEYS: Mapping[str, str] = {
    "model": "model",
    "模型": "model",
    "seed": "seed",
    "种子": "seed",
    "size": "size",
    "尺寸": "size",
    "before": "before",
    "之前": "before",
    "after": "after",
    "之后": "after",
    "is": "is",
}
_STAR = "★"
_FAVOURITE = frozenset({"favourite", "favourites", "favorite", "favorites", _STAR, "收藏"})
_DATE = re.compile(r"(\d{4})(?:[-/.年](\d{1,2})(?:[-/.月](\d{1,2})日?|月)?|年)?", re.ASCII)
_SIZE = re.compile(r"(\d{1,5})[x×*](\d{1,5})", re.ASCII)


def parse(typed: str) -> Query:
    """Read a search. What looks like a filter and is none is words like any other.

    ``after`` counts from its day on and ``before`` up to the day before, by UTC; a year or a month stands for its first
    day.

    Raises:
        BadInput: Nothing was typed, it is too long, or a filter's value can't be read.
    """
    # Invisible characters part words where they are stored, so they stay.
    folded = lower(typed)
    if len(folded) > QUERY_CHARS:
        raise BadInput("refusal.search.long", most=QUERY_CHARS)
    query, plain = Query(), []
    for part in folded.split():
        key, colon, value = part.partition(":")
        reader = _READERS.get(_KEYS.get(fold(key), "")) if colon and value else None
        found = None if reader is None else reader(query, fold(value))
        if found is not None:
            query = found
        elif part == _STAR:
            query = replace(query, favourite=True)
        else:
            plain.append(part)
    words = segmentation.sought(" ".join(plain))
    if len(words) > MOST_WORDS:
        raise BadInput("refusal.search.long", most=QUERY_CHARS)
    query = replace(query, words=words)
    if query == Query():
        raise BadInput("refusal.search.empty")
    return query


def _model(query: Query, value: str) -> Query:
    return replace(query, model=value)


def _seed(query: Query, value: str) -> Query:
    seed = bounded(value, 0, MAX_SEED)
    if seed is None:
        raise BadInput("refusal.search.seed", value=shown(value))
    return replace(query, seed=seed)


def _size(query: Query, value: str) -> Query:
    found = _SIZE.fullmatch(value)
    if found is None:
        raise BadInput("refusal.search.size", value=shown(value))
    return replace(query, size=(int(found[1]), int(found[2])))


def _before(query: Query, value: str) -> Query:
    return replace(query, until=_day(value))


def _after(query: Query, value: str) -> Query:
    return replace(query, since=_day(value))


def _is(query: Query, value: str) -> Query | None:
    return replace(query, favourite=True) if value in _FAVOURITE else None


def _day(value: str) -> float:
    found = _DATE.fullmatch(value)
    try:
        if found is None:
            raise ValueError(value)
        return datetime(int(found[1]), int(found[2] or 1), int(found[3] or 1), tzinfo=UTC).timestamp()
    except ValueError:
        raise BadInput("refusal.search.date", value=shown(value)) from None


_READERS: Mapping[str, Callable[[Query, str], Query | None]] = {
    "model": _model,
    "seed": _seed,
    "size": _size,
    "before": _before,
    "after": _after,
    "is": _is,
}
