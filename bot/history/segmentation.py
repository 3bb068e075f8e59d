"""Cuts text into the words that the history is searched by: the same function for what is stored and what is sought.

Chinese and other scripts without spaces have no words that everybody agrees on: each character is one, and so is each
pair of neighbours. What is sought is cut into pairs, so that 山水 finds 青绿山水画 and does not find 水山.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise

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


def words(text: str) -> tuple[str, ...]:
    """Return what stored text can be found by, each word once: folded, without diacritics; 猫咪 gives 猫, 咪 and 猫咪."""
    return tuple(dict.fromkeys(_cut(text, singles=True)))


def sought(text: str) -> tuple[str, ...]:
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
