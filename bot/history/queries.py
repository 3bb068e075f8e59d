"""Search queries: their grammar, and the words that they are matched by."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise

from bot.core.errors import BadInput
from bot.core.recipes import MAX_SEED
from bot.core.texts import bounded, fold, lower, shown


@dataclass(frozen=True, slots=True)
class Query:
    """A search, read. Everything must hold; an empty one finds all.

    Attributes:
        words: As ``bot.history.queries.search_terms`` gives them.
        model: A profile's name, folded.
        seed: 0 to 2**63 - 1: any picture of the job has it.
        size: As (width, height) in pixels.
        favourite: Only what the person keeps as a favourite.
        since: Only what was asked for at this moment or later, in Unix seconds.
        until: Only what was asked for before it, in Unix seconds.
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
        """Whether nothing is said of the pictures but that they are favourites: others' are among them then."""
        return self.favourite and not self.words and (self.model, self.seed, self.size) == (None, None, None)


WORD_CHARS = 64
"""What is longer is cut: nobody types it, and it may be a file that was pasted."""

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


def index_terms(text: str) -> tuple[str, ...]:
    """Return what stored text can be found by, each word once: folded, without diacritics; 猫咪 gives 猫, 咪 and 猫咪."""
    return tuple(dict.fromkeys(_cut(text, singles=True)))


def search_terms(text: str) -> tuple[str, ...]:
    """Return the words that stored text must have, each once; 猫 gives 猫, 小猫咪 gives 小猫 and 猫咪."""
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
            # Emoji and the like: each stands for itself.
            yield part


def _fold(text: str) -> str:
    # Folding case may bring diacritics of its own (İ), so both come apart twice.
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return unicodedata.normalize("NFC", "".join(c for c in apart if unicodedata.category(c) not in {"Mn", "Mc"}))


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


def parse_query(typed: str) -> Query:
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
