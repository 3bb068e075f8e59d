"""Text helpers: cleaning, folding, shortening, reading numbers, and the nearest known word."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

MAX_INT = 2**63 - 1
"""Largest integer that SQLite stores; the smallest is ``-MAX_INT - 1``."""

SHOWN_CHARS = 40
"""How much of what was typed a refusal repeats, in characters."""

_VISIBLE_FORMATS = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2")
# Shown as nothing, though they are no format characters: fillers, the joiner of graphemes, and the frame of a keycap.
_FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u20e3\u3164\uffa0")
_MINUS = str.maketrans(dict.fromkeys("‐‑‒–—−", "-"))
_WHOLE = re.compile(r"[+-]?[0-9]+", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,18}(?:[.,][0-9]{0,18})?|[.,][0-9]{1,18})", re.ASCII)
_DIGITS = 30
"""More digits than any number that Easel takes; longer ones are not read (Python refuses them from 4,300 on)."""


def clean(text: str) -> str:
    """Drop what no prompt can hold (lone surrogates, control characters but newline and tab) and outer white space."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in {"Cc", "Cs"}).strip()


def invisible(char: str) -> bool:
    """Whether a character shows nothing: joiners, marks of direction, variation selectors, fillers, soft hyphens."""
    if char.isascii():
        return False
    if "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef" or char in _FILLERS:
        return True
    return unicodedata.category(char) == "Cf" and char not in _VISIBLE_FORMATS


def lower(text: str) -> str:
    """Return the text in NFKC and in lower case, without outer white space."""
    return unicodedata.normalize("NFKC", text).casefold().strip()


def fold(text: str) -> str:
    """Return the text as keywords and numbers are compared: like ``lower``, and without characters that show nothing."""
    return lower("".join(char for char in text if not invisible(char)))


def clip(text: str, limit: int) -> str:
    """Return at most ``limit`` characters, with an ellipsis where the text was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def shown(text: str) -> str:
    """Return what a refusal repeats of the typed text: one line of at most 40 characters."""
    return clip(" ".join(clean(text).split()), SHOWN_CHARS)


def whole(text: str) -> int | None:
    """Read a whole number in any width of digits; None when it is none. Absurdly long ones come back shortened."""
    digits = fold(text).translate(_MINUS)
    if not _WHOLE.fullmatch(digits):
        return None
    return int(digits) if len(digits) <= _DIGITS else int(digits[0] + "9" * (_DIGITS - 1))


def bounded(text: str, low: int = -MAX_INT, high: int = MAX_INT) -> int | None:
    """Read a whole number that lies between ``low`` and ``high``, both included; None for any other text.

    What becomes a row's number is read by this: SQLite refuses integers of more than 64 bits.
    """
    number = whole(text)
    return number if number is not None and low <= number <= high else None


def decimal(text: str) -> float | None:
    """Read a decimal number, with a point or a comma; None when it is none."""
    digits = fold(text).translate(_MINUS)
    return float(digits.replace(",", ".")) if _DECIMAL.fullmatch(digits) else None


_PREFIX = 3
"""Common letters at the beginning that make one word a shortened or lengthened form of the other: ``--negative`` is ``--neg``."""


def nearest(typed: str, known: Iterable[str]) -> str | None:
    """Return the known word that is fewest edits away; None where every one is further than a third of its letters.

    An edit is a letter more, less or another, or two that changed places. A word that begins with the other one counts
    as near, too.
    """
    found = [(_edits(typed, word), index, word) for index, word in enumerate(known) if _is_near(typed, word)]
    return min(found)[2] if found else None


def _is_near(typed: str, word: str) -> bool:
    shorter, longer = sorted((typed, word), key=len)
    if typed == word or (len(shorter) >= _PREFIX and longer.startswith(shorter)):
        return True
    allowed = len(longer) // 3
    return len(longer) - len(shorter) <= allowed and _edits(typed, word) <= allowed


def _edits(a: str, b: str) -> int:
    """Return the optimal string alignment distance."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, char in enumerate(a, 1):
        last, before, row = before, row, [i]
        for j, other in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (char != other))
            if last and j > 1 and char == b[j - 2] and a[i - 2] == other:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]
