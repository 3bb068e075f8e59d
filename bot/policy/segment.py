"""Cuts text into the words that the history is searched by: the same function for what is stored and what is sought.

Chinese and other scripts without spaces have no words that everybody agrees on: each character is one, and so is each
pair of neighbours. What is sought is cut into pairs, so that 山水 finds 青绿山水画 and does not find 水山.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from itertools import groupby, pairwise

WORD_CHARS = 64
"""What is longer is cut: nobody types it, and it may be a file that was pasted."""

_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3400, 0x4DBF),  # Han, extension A
    (0x4E00, 0x9FFF),  # Han
    (0xF900, 0xFAFF),  # Han, compatibility
    (0x20000, 0x3FFFF),  # Han, extensions B to J
)
_WORD, _UNSPACED_WORD, _SIGN, _BETWEEN = range(4)


def words(text: str) -> tuple[str, ...]:
    """Return what stored text can be found by, each word once: folded, without diacritics; 猫咪 gives 猫, 咪 and 猫咪."""
    return tuple(dict.fromkeys(_cut(text, singles=True)))


def sought(text: str) -> tuple[str, ...]:
    """Return the words that stored text must have, each once; 猫 gives 猫, 小猫咪 gives 小猫 and 猫咪."""
    return tuple(dict.fromkeys(_cut(text, singles=False)))


def _cut(text: str, *, singles: bool) -> Iterator[str]:
    for kind, run in groupby(_fold(text), _kind):
        found = "".join(run)
        if kind == _WORD:
            yield found[:WORD_CHARS]
        elif kind == _SIGN or (len(found) == 1 and kind == _UNSPACED_WORD):
            yield from found
        elif kind == _UNSPACED_WORD:
            if singles:
                yield from found
            yield from (one + other for one, other in pairwise(found))


def _fold(text: str) -> str:
    # Folding case may bring diacritics of its own (İ), so both come apart twice.
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return unicodedata.normalize("NFC", "".join(c for c in apart if unicodedata.category(c) != "Mn"))


def _kind(character: str) -> int:
    code = ord(character)
    if code > 0xDFF and any(low <= code <= high for low, high in _UNSPACED):
        return _UNSPACED_WORD if unicodedata.category(character)[0] in "LMN" else _BETWEEN
    if character.isalnum() or unicodedata.category(character) == "Mc":
        return _WORD
    # Emoji and the like: each stands for itself.
    return _SIGN if unicodedata.category(character) == "So" else _BETWEEN
