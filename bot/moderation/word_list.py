"""The word list: finds listed words in a text however they are written, and never inside other words."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

UNSPACED = (
    "\u0e00-\u0eff\u2e80-\u2fff\u3005-\u3007\u3021-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
"""For a class of characters: scripts whose words are not parted by spaces, or grow endings (Chinese, Japanese, Korean, Thai)."""

# Shown as nothing, though not all of them are format characters (Cf): fillers, and the joiner of graphemes.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
_BLANK = "\u2800"  # a Braille cell without dots
JOINT = "-"
"""Stands for each mark that people put between the letters of one word. Other marks, and spaces, part words."""

_JOINTS = str.maketrans(dict.fromkeys("._*~+^`·•|\\/()[]{}<>#=&%", JOINT))
_MANY_JOINTS = re.compile(f"{JOINT}{{4,}}")
_LEET = str.maketrans({"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i"})
_LEET_TOKEN = re.compile(r"[a-z0-9@$!]+")
_TRAILING = re.compile(r"!+$")
_PIECES = re.compile(rf"[^\W_{UNSPACED}]+")
# Four characters at most: what is wider apart are two words.
_GAP = re.compile(r"[\W_]{1,4}")


@cache
def _lookalikes() -> Mapping[str, str]:
    """Return what looks like which Latin letter. The file is read when it is first asked for."""
    path = resources.files("bot.moderation") / "lookalikes.txt"
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    letters = {double: line[0] for line in lines for double in line[2:].strip()}
    # A word of another alphabet shall be the same word in capitals: what only these look like goes for the small ones too.
    return {**{double.casefold(): letter for double, letter in letters.items()}, **letters}


def fold_confusables(text: str) -> str:
    """Return text without width, case, accents, look-alikes and what can't be seen; whitespace becomes one space.

    ``i`` and ``l`` become one letter, since in capitals and beside digits nobody tells them apart, and so do the marks that
    don't part words, of which three in a row are as good as more.
    """
    letters = _lookalikes()
    folded = []
    for char in unicodedata.normalize("NFKD", text):
        category = unicodedata.category(char)
        if category == "Cf" or category[0] == "M" or char in _INVISIBLE:
            continue
        # Before its case is folded: a capital Nu looks like an N, a small one like a v.
        folded.append(" " if char == _BLANK else letters.get(char) or char.casefold())
    # Folding case may decompose and give letters with doubles of their own.
    once = "".join(letters.get(char, char) for char in unicodedata.normalize("NFKD", "".join(folded)))
    # Korean and the like are put together again, so that one letter is one character.
    plain = unicodedata.normalize("NFC", once).replace("l", "i").translate(_JOINTS)
    return " ".join(_MANY_JOINTS.sub(JOINT * 3, plain).split())


def fold_leet(folded: str) -> str:
    """Return folded text with the digits and signs that stand for letters inside of words as these letters."""
    return _LEET_TOKEN.sub(lambda found: _leet_letters(found[0]), folded)


def join_spelled(folded: str) -> Iterator[str]:
    """Yield the words of folded text that are written letter by letter, such as ``n u d e``, put together."""
    run: list[str] = []
    end = 0
    for piece in _PIECES.finditer(folded):
        letter = len(set(piece[0])) == 1
        if not letter or not _GAP.fullmatch(folded, end, piece.start()):
            yield from _joined(run)
            run = []
        if letter:
            # However often it is repeated.
            run.append(piece[0])
        end = piece.end()
    yield from _joined(run)


def _leet_letters(token: str) -> str:
    if not any("a" <= char <= "z" for char in token):
        return token  # a number
    # An exclamation mark at the end is one.
    end = _TRAILING.search(token)
    word, rest = (token[: end.start()], token[end.start() :]) if end else (token, "")
    return word.translate(_LEET) + rest


def _joined(run: list[str]) -> Iterator[str]:
    if len(run) > 2:
        yield fold_leet("".join(run))


MAX_WORD = 80
"""Characters in a line of an operator's own words."""

_SHORT = 3
"""Letters of a word that is too short to be looked for inside of letters that are spelled out."""

_JOINED = f"{JOINT}{{0,3}}+"
_BETWEEN = f"[{JOINT} ]{{0,4}}+"
_LETTER = rf"[^\W\d_{UNSPACED}]"
_WHOLE_LETTER = re.compile(_LETTER)
_TOKENS = re.compile(rf"{_LETTER}+|[{UNSPACED}]+|\d+")
_NO_LETTERS = re.compile(r"[\W\d_]+")
_REPEATED = re.compile(r"(.)\1+")

_NUMBERS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
_YOUNG = re.compile(
    rf"(?<![\w.,-])(?:1[0-7]|[1-9]|{fold_confusables(_NUMBERS).replace(' ', '|')})[\s-]?(?:years?|yrs?|yo|y-o)(?:[\s-]?{fold_confusables('old')})?(?!\w)"
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
        return cls(tuple((word, _bare_letters(fold_confusables(word))) for word in dict.fromkeys(words)))

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

    def find(self, text: str) -> WordMatch | None:
        """Return the first listed word of a text, those first that are forbidden everywhere; None when there is none."""
        seen = _ScannedText.of(text, self.innocent)
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
class _ScannedText:
    """A text in each form that is looked at, and where it only looks like a listed word."""

    forms: tuple[str, ...]
    runs: tuple[str, ...]
    bare: str
    covered: tuple[tuple[tuple[int, int], ...], ...]

    @classmethod
    def of(cls, text: str, innocent: _Words) -> _ScannedText:
        folded = fold_confusables(text)
        forms = tuple(dict.fromkeys((folded, fold_leet(folded))))
        runs = tuple(join_spelled(folded))
        bare = "\n".join(_bare_letters(form) for form in (*forms, *runs))
        likely = list(innocent.likely(bare))
        covered = tuple(tuple(span for word in likely for span in _matches(word, form, exact=True)) for form in forms)
        runs = tuple(run for run in runs if not any(_spelled_in(run, word) for word in likely))
        return cls(forms, runs, bare, covered)

    def first(self, words: _Words) -> str | None:
        return next((word for word in words.likely(self.bare) if self._has(word)), None)

    def _has(self, word: str) -> bool:
        for form, covered in zip(self.forms, self.covered, strict=True):
            for start, end in _matches(word, form):
                if not any(low <= start and end <= high for low, high in covered):
                    return True
        return any(_spelled_in(run, word) for run in self.runs)

    def young(self) -> bool:
        return any(_YOUNG.search(form) for form in self.forms)


@cache
def shipped_words() -> WordList:
    """Return the word list as it is shipped. It is read when it is first asked for."""
    return build_word_list()


def build_word_list(own: CustomWords | None = None) -> WordList:
    """Return the shipped word list with an operator's own words. Reads a file: not for the event loop."""
    own = own or CustomWords()
    words = _read_file()
    removed, added = {fold_confusables(word) for word in own.removed}, {fold_confusables(word) for word in own.added}

    def kept(name: str) -> list[str]:
        return [word for word in words[name] if fold_confusables(word) not in removed]

    return WordList(
        listed=_Words.of([*kept("sexual"), *kept("gore"), *own.added]),
        # As shipped: what an operator allows, they do not allow of children.
        sexual=_Words.of(words["sexual"]),
        minors=_Words.of(words["minors"]),
        forbidden=_Words.of(words["forbidden"]),
        innocent=_Words.of(word for word in words["innocent"] if fold_confusables(word) not in added),
    )


def parse_custom_words(lines: Sequence[str]) -> CustomWords:
    """Read an operator's words: one a line, ``-word`` takes a shipped one away, ``#`` begins a remark."""
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


def _bare_letters(folded: str) -> str:
    """Return the letters alone, each once however often it is repeated."""
    return _REPEATED.sub(r"\1", _NO_LETTERS.sub("", folded))


def _matches(word: str, form: str, *, exact: bool = False) -> Iterator[tuple[int, int]]:
    """Yield where a word stands in folded text: whole, in scripts that part words; ``exact`` takes no letter for two."""
    wanted = _word_pattern(word, exact=exact)
    for found in wanted.pattern.finditer(form):
        start = found.start()
        if wanted.whole_start and start and _WHOLE_LETTER.match(form, start - 1):
            continue
        # With what may be a plural's s, or without what was none: "nude-sofa".
        for end in (found.end(), found.end(1)):
            if not (wanted.whole_end and _WHOLE_LETTER.match(form, end)):
                yield start, end
                break


@dataclass(frozen=True, slots=True)
class _WordPattern:
    """How a word is looked for, and at which of its ends no letter may stand.

    The ends are looked at by hand: in the pattern, the class of all letters would take most of the time to compile it.
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


def _spelled_in(run: str, word: str) -> bool:
    """Whether a word is in letters that somebody has spelled out. A short one must be all that there is, or every other
    word would hold one.
    """
    letters = "".join(_TOKENS.findall(fold_confusables(word)))
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
