"""What is done to typed text before anything is decided by it: cleaning, folding, shortening, reading numbers."""

from __future__ import annotations

import re
import unicodedata

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


def shown(text: str) -> str:
    """Return what a refusal repeats of the typed text: one line, at most 40 characters, never taken for a key."""
    line = " ".join(clean(text).split())
    if len(line) > SHOWN_CHARS:
        line = line[: SHOWN_CHARS - 1] + "…"
    return f"@{line}" if line.startswith("@") else line


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
