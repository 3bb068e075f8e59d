"""The word list: finds listed words in a text however they are written, and never inside other words."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

MAX_WORD = 80
"""Longest line of an operator's own words, in characters."""

UNSPACED = (
    "\u0e00-\u0eff\u2e80-\u2fff\u3005-\u3007\u3021-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Character class of scripts without spaces between words, or with suffixes (Chinese, Japanese, Korean, Thai)."""

JOINT = "-"
"""Replaces every mark that people put between the letters of a word. Other marks and spaces separate words."""

# Invisible characters outside of the category Cf: fillers, and the grapheme joiner.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
_BLANK = "\u2800"  # a Braille cell without dots
_JOINTS = str.maketrans(dict.fromkeys("._*~+^`·•|\\/()[]{}<>#=&%", JOINT))
_MANY_JOINTS = re.compile(f"{JOINT}{{4,}}")
_LEET = str.maketrans({"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i"})
_LEET_TOKEN = re.compile(r"[a-z0-9@$!]+")
_WEIGHT = re.compile(r"\s*:\s*[+-]?[0-9.]+\s*\)")
_TRAILING = re.compile(r"!+$")
_PIECES = re.compile(rf"[^\W_{UNSPACED}]+")
# At most four characters; a wider gap separates words.
_GAP = re.compile(r"[\W_]{1,4}")

_SHORT = 3
"""Words of up to this many letters must match a spelled word completely."""

_JOINED = f"{JOINT}{{0,3}}+"
_BETWEEN = f"[{JOINT} ]{{0,4}}+"
_LETTER = rf"[^\W\d_{UNSPACED}]"
_WHOLE_LETTER = re.compile(_LETTER)
_TOKENS = re.compile(rf"{_LETTER}+|[{UNSPACED}]+|\d+")
_NO_LETTERS = re.compile(r"[\W\d_]+")
_REPEATED = re.compile(r"(.)\1+")
_NUMBERS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"


@dataclass(frozen=True, slots=True)
class WordMatch:
    """A listed word that was found in a text.

    Attributes:
        word: The word as listed.
        forbidden: The text sexualises minors, so it is refused everywhere.
    """

    word: str
    forbidden: bool = False


@dataclass(frozen=True, slots=True)
class CustomWords:
    """The content of an operator's word file.

    Attributes:
        added: Words in addition to the shipped ones.
        removed: Shipped words that are not listed here.
        bad: Invalid lines: their number from 1, and the reason.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    bad: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Words:
    """Words, each with its bare letters. A text without these letters needs no closer search for the word."""

    words: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, words: Iterable[str]) -> _Words:
        return cls(tuple((word, _bare_letters(fold_confusables(word))) for word in dict.fromkeys(words)))

    def candidates(self, bare: str) -> Iterator[str]:
        return (word for word, letters in self.words if letters in bare)


@dataclass(frozen=True, slots=True)
class WordList:
    """Finds listed words. Building it takes milliseconds; a search of an ordinary prompt takes microseconds."""

    listed: _Words
    sexual: _Words
    minors: _Words
    forbidden: _Words
    innocent: _Words

    def find(self, text: str) -> WordMatch | None:
        """Return the first listed word in a text, forbidden ones first; None if there is none.

        The numbers of weights, (word:1.2), are read as a part of the text and as none, as models do.
        """
        found = self._find(text)
        unweighted = _WEIGHT.sub(")", text)
        if unweighted == text or (found is not None and found.forbidden):
            return found
        other = self._find(unweighted)
        return other if found is None or (other is not None and other.forbidden) else found

    def _find(self, text: str) -> WordMatch | None:
        scanned = _ScannedText.of(text, self.innocent)
        if (word := scanned.first(self.forbidden)) is not None:
            return WordMatch(word, forbidden=True)
        sexual = scanned.first(self.sexual)
        if sexual is not None:
            minor = scanned.first(self.minors)
            if minor is not None or scanned.mentions_minor_age():
                return WordMatch(minor or sexual, forbidden=True)
        word = scanned.first(self.listed)
        return None if word is None else WordMatch(word)


@dataclass(frozen=True, slots=True)
class _ScannedText:
    """A text in each searched form, and the spans of innocent words that contain listed ones."""

    forms: tuple[str, ...]
    runs: tuple[str, ...]
    bare: str
    innocent_spans: tuple[tuple[tuple[int, int], ...], ...]

    @classmethod
    def of(cls, text: str, innocent: _Words) -> _ScannedText:
        folded = fold_confusables(text)
        forms = tuple(dict.fromkeys((folded, fold_leet(folded))))
        runs = tuple(join_spelled(folded))
        bare = "\n".join(_bare_letters(form) for form in (*forms, *runs))
        likely = list(innocent.candidates(bare))
        innocent_spans = tuple(
            tuple(span for word in likely for span in _matches(word, form, exact=True)) for form in forms
        )
        runs = tuple(run for run in runs if not any(_is_spelled_in(run, word) for word in likely))
        return cls(forms, runs, bare, innocent_spans)

    def first(self, words: _Words) -> str | None:
        return next((word for word in words.candidates(self.bare) if self._has(word)), None)

    def _has(self, word: str) -> bool:
        for form, innocent_spans in zip(self.forms, self.innocent_spans, strict=True):
            for start, end in _matches(word, form):
                if not any(low <= start and end <= high for low, high in innocent_spans):
                    return True
        return any(_is_spelled_in(run, word) for run in self.runs)

    def mentions_minor_age(self) -> bool:
        return any(_minor_age().search(form) for form in self.forms)


@cache
def shipped_words() -> WordList:
    """Return the shipped word list. The file is read at the first call."""
    return build_word_list()


def build_word_list(own: CustomWords | None = None) -> WordList:
    """Return the shipped word list with an operator's own words. Blocking: it reads a file."""
    own = own or CustomWords()
    words = _read_file()
    removed, added = {fold_confusables(word) for word in own.removed}, {fold_confusables(word) for word in own.added}

    def kept(name: str) -> list[str]:
        return [word for word in words[name] if fold_confusables(word) not in removed]

    return WordList(
        listed=_Words.of([*kept("sexual"), *kept("gore"), *own.added]),
        # As shipped: words that an operator removes stay forbidden together with minors.
        sexual=_Words.of(words["sexual"]),
        minors=_Words.of(words["minors"]),
        forbidden=_Words.of(words["forbidden"]),
        innocent=_Words.of(word for word in words["innocent"] if fold_confusables(word) not in added),
    )


def parse_custom_words(lines: Sequence[str]) -> CustomWords:
    """Parse an operator's word file: one word per line; ``-word`` removes a shipped word; ``#`` starts a comment."""
    words = _read_file()
    known = {fold_confusables(word) for name in ("sexual", "gore") for word in words[name]}
    forbidden = {fold_confusables(word) for word in words["forbidden"]}
    added, removed, bad = [], [], []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        word = text.removeprefix("-").strip()
        if len(word) > MAX_WORD:
            bad.append((number, f"longer than {MAX_WORD} characters"))
        elif not _TOKENS.search(fold_confusables(word)):
            bad.append((number, "no letter in it"))
        elif not text.startswith("-"):
            added.append(word)
        elif fold_confusables(word) in forbidden:
            bad.append((number, "what sexualises minors stays refused"))
        elif fold_confusables(word) not in known:
            bad.append((number, "no shipped word, so there is nothing to take away"))
        else:
            removed.append(word)
    return CustomWords(tuple(added), tuple(removed), tuple(bad))


def _read_file() -> dict[str, list[str]]:
    with (resources.files("bot.moderation") / "words.toml").open("rb") as file:
        return tomllib.load(file)


def _matches(word: str, form: str, *, exact: bool = False) -> Iterator[tuple[int, int]]:
    """Yield the spans of a word in folded text; in scripts with spaces, only of whole words. ``exact``: no repeated letters."""
    wanted = _word_pattern(word, exact=exact)
    for found in wanted.pattern.finditer(form):
        start = found.start()
        if wanted.whole_start and start and _WHOLE_LETTER.match(form, start - 1):
            continue
        # With a possible plural s, or without it where it belongs to the next word: "nude-sofa".
        for end in (found.end(), found.end(1)):
            if not (wanted.whole_end and _WHOLE_LETTER.match(form, end)):
                yield start, end
                break


@dataclass(frozen=True, slots=True)
class _WordPattern:
    """The pattern of a word, and at which of its ends no letter may follow.

    The ends are checked in code: in the pattern, the class of all letters would take most of the compile time.
    """

    pattern: re.Pattern[str]
    whole_start: bool
    whole_end: bool


@lru_cache(maxsize=1024)
def _word_pattern(word: str, *, exact: bool) -> _WordPattern:
    tokens = _TOKENS.findall(fold_confusables(word))
    pattern = _BETWEEN.join(
        _spread(token, _JOINED if _WHOLE_LETTER.match(token) else _BETWEEN, exact=exact) for token in tokens
    )
    whole_start, whole_end = (_WHOLE_LETTER.match(token) is not None for token in (tokens[0], tokens[-1]))
    pattern = f"({pattern})"
    if whole_end:
        pattern += f"(?:{_JOINED}e?s)?"
    return _WordPattern(re.compile(pattern), whole_start, whole_end)


def _is_spelled_in(run: str, word: str) -> bool:
    """Return whether a spelled word contains a listed one. A short word must match completely, since many words contain
    one.
    """
    letters = "".join(_TOKENS.findall(fold_confusables(word)))
    found = re.search(_spread(letters, ""), run)
    if found is None:
        return False
    return len(letters) > _SHORT or (run[: found.start()] in {"", "a", "i"} and run[found.end() :] in {"", "s"})


def _spread(token: str, gap: str, *, exact: bool = False) -> str:
    """Return the pattern of a word's letters: each may repeat, a double letter at least twice, with gaps between them."""
    if exact:
        return gap.join(re.escape(letter) for letter in token)
    parts = []
    for run in re.finditer(r"(.)\1*", token):
        letter, count = re.escape(run[1]), len(run[0])
        parts.append(f"{letter}++" if count == 1 else f"{letter}(?:{gap}{letter}){{{count - 1},}}+")
    return gap.join(parts)


def _bare_letters(folded: str) -> str:
    """Return the letters alone, with repetitions reduced to one."""
    return _REPEATED.sub(r"\1", _NO_LETTERS.sub("", folded))


@cache
def _minor_age() -> re.Pattern[str]:
    """Return the pattern of ages below 18, in folded text."""
    numbers = fold_confusables(_NUMBERS).replace(" ", "|")
    return re.compile(
        rf"(?<![\w.,-])(?:1[0-7]|[1-9]|{numbers})[\s-]?(?:years?|yrs?|yo|y-o)(?:[\s-]?{fold_confusables('old')})?(?!\w)"
        r"|\bage[d:]?\s?(?:1[0-7]|[1-9])(?!\d)"
        r"|(?<![\d.])(?:1[0-7]|[1-9])\s?[岁歲]"
        r"|(?<![一二三四五六七八九十百])(?:十[一二三四五六七]?|[一二两兩三四五六七八九])[岁歲]"
    )


def fold_confusables(text: str) -> str:
    """Fold width, case, accents and look-alikes, and drop invisible characters; white space becomes one space.

    ``i`` and ``l`` become one letter, since capitals and digits make them look alike. Marks that do not separate words
    become JOINT, at most three in a row.
    """
    letters = _lookalikes()
    folded = []
    for char in unicodedata.normalize("NFKD", text):
        category = unicodedata.category(char)
        if category == "Cf" or category[0] == "M" or char in _INVISIBLE:
            continue
        # Look up before case folding: a capital Nu looks like an N, a small one like a v.
        folded.append(" " if char == _BLANK else letters.get(char) or char.casefold())
    # Case folding may decompose, and the result may have look-alikes too.
    once = "".join(letters.get(char, char) for char in unicodedata.normalize("NFKD", "".join(folded)))
    # Compose again, so that a Korean syllable is one character.
    plain = unicodedata.normalize("NFC", once).replace("l", "i").translate(_JOINTS)
    return " ".join(_MANY_JOINTS.sub(JOINT * 3, plain).split())


@cache
def _lookalikes() -> Mapping[str, str]:
    """Return the Latin letter of each look-alike. The file is read at the first call."""
    path = resources.files("bot.moderation") / "lookalikes.txt"
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    letters = {double: line[0] for line in lines for double in line[2:].strip()}
    # A word of another alphabet must fold alike in both cases, so look-alikes of capitals count for small letters too.
    return {**{double.casefold(): letter for double, letter in letters.items()}, **letters}


def fold_leet(folded: str) -> str:
    """Replace digits and signs inside of words by the letters that they stand for, in folded text."""
    return _LEET_TOKEN.sub(lambda found: _leet_letters(found[0]), folded)


def _leet_letters(token: str) -> str:
    if not any("a" <= char <= "z" for char in token):
        return token  # a number
    # An exclamation mark at the end is no letter.
    end = _TRAILING.search(token)
    word, rest = (token[: end.start()], token[end.start() :]) if end else (token, "")
    return word.translate(_LEET) + rest


def join_spelled(folded: str) -> Iterator[str]:
    """Yield the words that are spelled letter by letter, such as ``n u d e``, as joined words of folded text."""
    run: list[str] = []
    end = 0
    for piece in _PIECES.finditer(folded):
        letter = len(set(piece[0])) == 1
        if not letter or not _GAP.fullmatch(folded, end, piece.start()):
            yield from _joined(run)
            run = []
        if letter:
            # A repeated letter counts as one.
            run.append(piece[0])
        end = piece.end()
    yield from _joined(run)


def _joined(run: list[str]) -> Iterator[str]:
    if len(run) > 2:
        yield fold_leet("".join(run))
