"""Text as word lists look at it: one form for each letter, whatever it was typed with; and words spelled out, put together."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
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
def _letters() -> Mapping[str, str]:
    """Return what looks like which Latin letter. The file is read when it is first asked for."""
    path = resources.files("bot.moderation") / "lookalikes.txt"
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    letters = {double: line[0] for line in lines for double in line[2:].strip()}
    # A word of another alphabet shall be the same word in capitals: what only these look like goes for the small ones too.
    return {**{double.casefold(): letter for double, letter in letters.items()}, **letters}


def fold(text: str) -> str:
    """Return text without width, case, accents, look-alikes and what can't be seen; whitespace becomes one space.

    ``i`` and ``l`` become one letter, since in capitals and beside digits nobody tells them apart, and so do the marks that
    don't part words, of which three in a row are as good as more.
    """
    letters = _letters()
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


def leet(folded: str) -> str:
    """Return folded text with the digits and signs that stand for letters inside of words as these letters."""
    return _LEET_TOKEN.sub(lambda found: _letters_of(found[0]), folded)


def spelled(folded: str) -> Iterator[str]:
    """Yield the words of folded text that are written letter by letter, such as ``n u d e``, put together."""
    run: list[str] = []
    end = 0
    for piece in _PIECES.finditer(folded):
        letter = len(set(piece[0])) == 1
        if not letter or not _GAP.fullmatch(folded, end, piece.start()):
            yield from _whole(run)
            run = []
        if letter:
            # However often it is repeated.
            run.append(piece[0])
        end = piece.end()
    yield from _whole(run)


def _letters_of(token: str) -> str:
    if not any("a" <= char <= "z" for char in token):
        return token  # a number
    # An exclamation mark at the end is one.
    end = _TRAILING.search(token)
    word, rest = (token[: end.start()], token[end.start() :]) if end else (token, "")
    return word.translate(_LEET) + rest


def _whole(run: list[str]) -> Iterator[str]:
    if len(run) > 2:
        yield leet("".join(run))
