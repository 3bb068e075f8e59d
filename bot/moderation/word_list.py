"""The word list: what may not be drawn everywhere, found however it is written, and never in the middle of other words."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

from bot.moderation.confusables import JOINT, UNSPACED, fold, leet, spelled

MAX_WORD = 80
"""Characters in a line of an operator's own words."""

_SHORT = 3
"""Letters of a word that is too short to be looked for inside of letters that are spelled out."""

_JOINED = f"{JOINT}{{0,3}}+"
_BETWEEN = f"[{JOINT} ]{{0,4}}+"
_LETTER = rf"[^\W\d_{UNSPACED}]"
_WHOLE = re.compile(_LETTER)
_TOKENS = re.compile(rf"{_LETTER}+|[{UNSPACED}]+|\d+")
_NO_LETTERS = re.compile(r"[\W\d_]+")
_REPEATED = re.compile(r"(.)\1+")

_NUMBERS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
_YOUNG = re.compile(
    rf"(?<![\w.,-])(?:1[0-7]|[1-9]|{fold(_NUMBERS).replace(' ', '|')})[\s-]?(?:years?|yrs?|yo|y-o)(?:[\s-]?{fold('old')})?(?!\w)"
    r"|\bage[d:]?\s?(?:1[0-7]|[1-9])(?!\d)"
    r"|(?<![\d.])(?:1[0-7]|[1-9])\s?[岁歲]"
    r"|(?<![一二三四五六七八九十百])(?:十[一二三四五六七]?|[一二两兩三四五六七八九])[岁歲]"
)
"""Ages below 18, in folded text."""


@dataclass(frozen=True, slots=True)
class WordMatch:
    """A listed word in somebody's text.

    Attributes:
        word: As the list has it.
        forbidden: It sexualises minors: refused everywhere.
    """

    word: str
    forbidden: bool = False


@dataclass(frozen=True, slots=True)
class CustomWords:
    """What an operator's file of words says, and which of its lines say nothing.

    Attributes:
        added: Words beside the shipped ones.
        removed: Shipped words that are none here.
        bad: Numbers of lines that can't be used, from 1, each with why.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    bad: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Words:
    """Some words, each with its bare letters: only where these occur at all is it looked for with care."""

    words: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, words: Iterable[str]) -> _Words:
        return cls(tuple((word, _bare(fold(word))) for word in dict.fromkeys(words)))

    def likely(self, bare: str) -> Iterator[str]:
        return (word for word, letters in self.words if letters in bare)


@dataclass(frozen=True, slots=True)
class WordList:
    """Finds listed words. Building one takes some ms; looking takes microseconds for an ordinary prompt."""

    listed: _Words
    sexual: _Words
    minors: _Words
    forbidden: _Words
    innocent: _Words

    def look(self, text: str) -> WordMatch | None:
        """Return the first listed word of a text, those first that are forbidden everywhere; None when there is none."""
        seen = _Seen.of(text, self.innocent)
        if (word := seen.first(self.forbidden)) is not None:
            return WordMatch(word, forbidden=True)
        sexual = seen.first(self.sexual)
        if sexual is not None:
            minor = seen.first(self.minors)
            if minor is not None or seen.young():
                return WordMatch(minor or sexual, forbidden=True)
        word = seen.first(self.listed)
        return None if word is None else WordMatch(word)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A text in each form that is looked at, and where it only looks like a listed word."""

    forms: tuple[str, ...]
    runs: tuple[str, ...]
    bare: str
    covered: tuple[tuple[tuple[int, int], ...], ...]

    @classmethod
    def of(cls, text: str, innocent: _Words) -> _Seen:
        folded = fold(text)
        forms = tuple(dict.fromkeys((folded, leet(folded))))
        runs = tuple(spelled(folded))
        bare = "\n".join(_bare(form) for form in (*forms, *runs))
        likely = list(innocent.likely(bare))
        covered = tuple(tuple(span for word in likely for span in _hits(word, form, exact=True)) for form in forms)
        runs = tuple(run for run in runs if not any(_spelled_in(run, word) for word in likely))
        return cls(forms, runs, bare, covered)

    def first(self, words: _Words) -> str | None:
        return next((word for word in words.likely(self.bare) if self._has(word)), None)

    def _has(self, word: str) -> bool:
        for form, covered in zip(self.forms, self.covered, strict=True):
            for start, end in _hits(word, form):
                if not any(low <= start and end <= high for low, high in covered):
                    return True
        return any(_spelled_in(run, word) for run in self.runs)

    def young(self) -> bool:
        return any(_YOUNG.search(form) for form in self.forms)


@cache
def shipped() -> WordList:
    """Return the word list as it is shipped. It is read when it is first asked for."""
    return word_list()


def word_list(own: CustomWords | None = None) -> WordList:
    """Return the shipped word list with an operator's own words. Reads a file: not for the event loop."""
    own = own or CustomWords()
    words = _file()
    removed, added = {fold(word) for word in own.removed}, {fold(word) for word in own.added}

    def kept(name: str) -> list[str]:
        return [word for word in words[name] if fold(word) not in removed]

    return WordList(
        listed=_Words.of([*kept("sexual"), *kept("gore"), *own.added]),
        # As shipped: what an operator allows, they do not allow of children.
        sexual=_Words.of(words["sexual"]),
        minors=_Words.of(words["minors"]),
        forbidden=_Words.of(words["forbidden"]),
        innocent=_Words.of(word for word in words["innocent"] if fold(word) not in added),
    )


def read_own(lines: Sequence[str]) -> CustomWords:
    """Read an operator's words: one a line, ``-word`` takes a shipped one away, ``#`` begins a remark."""
    words = _file()
    known = {fold(word) for name in ("sexual", "gore") for word in words[name]}
    forbidden = {fold(word) for word in words["forbidden"]}
    added, removed, bad = [], [], []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        word = text.removeprefix("-").strip()
        if len(word) > MAX_WORD:
            bad.append((number, f"longer than {MAX_WORD} characters"))
        elif not _TOKENS.search(fold(word)):
            bad.append((number, "no letter in it"))
        elif not text.startswith("-"):
            added.append(word)
        elif fold(word) in forbidden:
            bad.append((number, "what sexualises minors stays refused"))
        elif fold(word) not in known:
            bad.append((number, "no shipped word, so there is nothing to take away"))
        else:
            removed.append(word)
    return CustomWords(tuple(added), tuple(removed), tuple(bad))


def _file() -> dict[str, list[str]]:
    with (resources.files("bot.moderation") / "words.toml").open("rb") as file:
        return tomllib.load(file)


def _bare(folded: str) -> str:
    """Return the letters alone, each once however often it is repeated."""
    return _REPEATED.sub(r"\1", _NO_LETTERS.sub("", folded))


def _hits(word: str, form: str, *, exact: bool = False) -> Iterator[tuple[int, int]]:
    """Yield where a word stands in folded text: whole, in scripts that part words; ``exact`` takes no letter for two."""
    wanted = _wanted(word, exact=exact)
    for found in wanted.pattern.finditer(form):
        start = found.start()
        if wanted.whole_start and start and _WHOLE.match(form, start - 1):
            continue
        # With what may be a plural's s, or without what was none: "nude-sofa".
        for end in (found.end(), found.end(1)):
            if not (wanted.whole_end and _WHOLE.match(form, end)):
                yield start, end
                break


@dataclass(frozen=True, slots=True)
class _Wanted:
    """How a word is looked for, and at which of its ends no letter may stand.

    The ends are looked at by hand: in the pattern, the class of all letters would take most of the time to compile it.
    """

    pattern: re.Pattern[str]
    whole_start: bool
    whole_end: bool


@lru_cache(maxsize=1024)
def _wanted(word: str, *, exact: bool) -> _Wanted:
    tokens = _TOKENS.findall(fold(word))
    pattern = _BETWEEN.join(
        _spread(token, _JOINED if _WHOLE.match(token) else _BETWEEN, exact=exact) for token in tokens
    )
    whole_start, whole_end = (_WHOLE.match(token) is not None for token in (tokens[0], tokens[-1]))
    pattern = f"({pattern})"
    if whole_end:
        pattern += f"(?:{_JOINED}e?s)?"
    return _Wanted(re.compile(pattern), whole_start, whole_end)


def _spelled_in(run: str, word: str) -> bool:
    """Whether a word is in letters that somebody has spelled out. A short one must be all that there is, or every other
    word would hold one.
    """
    letters = "".join(_TOKENS.findall(fold(word)))
    found = re.search(_spread(letters, ""), run)
    if found is None:
        return False
    return len(letters) > _SHORT or (run[: found.start()] in {"", "a", "i"} and run[found.end() :] in {"", "s"})


def _spread(token: str, gap: str, *, exact: bool = False) -> str:
    """Return a pattern for the letters of a word: each repeated at will, a double one at least twice, gaps in between."""
    if exact:
        return gap.join(re.escape(letter) for letter in token)
    parts = []
    for run in re.finditer(r"(.)\1*", token):
        letter, count = re.escape(run[1]), len(run[0])
        parts.append(f"{letter}++" if count == 1 else f"{letter}(?:{gap}{letter}){{{count - 1},}}+")
    return gap.join(parts)
