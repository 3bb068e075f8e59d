"""Search queries: their grammar, and the words that they are matched by."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise

from bot.core.errors import BadInput
from bot.core.requests import MAX_SEED
from bot.core.texts import bounded, fold, lower, shown

WORD_CHARS = 64
"""Longer words are cut: nobody types them, and they may come from a pasted file."""

_UNSPACED = "".join(
    f"{chr(low)}-{chr(high)}"
    for low, high in (
        (0x0E00, 0x0EFF),  # Thai, Lao
        (0x1000, 0x109F),  # Burmese
        (0x1780, 0x17FF),  # Khmer
        (0x3040, 0x30FF),  # Hiragana, Katakana
        (0x3400, 0x4DBF),  # Han, extension A
        (0x4E00, 0x9FFF),  # Han
        (0xF900, 0xFAFF),  # Han, compatibility
        (0x20000, 0x3FFFF),  # Han, extensions B to J
    )
)

_PLAIN = re.compile(r"[a-z0-9]+")

# A run of characters without spaces, a word, or a single sign.
_ANY = re.compile(rf"(?P<run>(?:(?=\w)[{_UNSPACED}])+)|(?P<word>(?:(?![{_UNSPACED}])[^\W_])+)|(?P<sign>[^\w\s])")

QUERY_CHARS = 200
"""Maximum length of a search in characters."""

MOST_WORDS = 32
"""Maximum number of terms in a search; pairs of Chinese characters count as terms."""

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


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed search. All conditions must hold; an empty query matches all jobs.

    Attributes:
        words: Search terms; see ``search_terms``.
        model: Name of a profile, folded.
        seed: Seed of any picture of the job, 0 to 2**63 - 1.
        size: (width, height) in pixels.
        favourite: Only jobs with a favourite of the person.
        since: Only jobs requested at or after this time (Unix seconds).
        until: Only jobs requested before this time (Unix seconds).
    """

    words: tuple[str, ...] = ()
    model: str | None = None
    seed: int | None = None
    size: tuple[int, int] | None = None
    favourite: bool = False
    since: float | None = None
    until: float | None = None

    @property
    def only_favourites(self) -> bool:
        """Whether it asks for favourites and nothing else about the pictures: other people's are included then."""
        return self.favourite and not self.words and (self.model, self.seed, self.size) == (None, None, None)


def index_terms(text: str) -> tuple[str, ...]:
    """Return the terms that index a text, without duplicates: folded, without diacritics. 猫咪 gives 猫, 咪 and 猫咪."""
    return tuple(dict.fromkeys(_cut(text, singles=True)))


def search_terms(text: str) -> tuple[str, ...]:
    """Return the terms that a text must have to match, without duplicates. 猫 gives 猫, 小猫咪 gives 小猫 and 猫咪."""
    return tuple(dict.fromkeys(_cut(text, singles=False)))


def _cut(text: str, *, singles: bool) -> Iterator[str]:
    if text.isascii():
        yield from (word[:WORD_CHARS] for word in _PLAIN.findall(text.lower()))
        return
    for found in _ANY.finditer(_fold(text)):
        part = found[0]
        if found["word"]:
            yield part[:WORD_CHARS]
        elif found["run"]:
            if singles or len(part) == 1:
                yield from part
            yield from (one + other for one, other in pairwise(part))
        elif unicodedata.category(part) == "So":
            # Emoji and other symbols: each is a term.
            yield part


def _fold(text: str) -> str:
    # Folding case may produce new diacritics (İ), so the text is decomposed before and after.
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return unicodedata.normalize("NFC", "".join(c for c in apart if unicodedata.category(c) not in {"Mn", "Mc"}))


def parse_query(typed: str) -> Query:
    """Parse a search. An unknown filter counts as words.

    ``after`` includes its day, ``before`` ends with the day before, in UTC. A year or a month means its first day.

    Raises:
        BadInput: It is empty or too long, or the value of a filter is invalid.
    """
    # Invisible characters separate words in the index, so they stay.
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
    words = search_terms(" ".join(plain))
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
