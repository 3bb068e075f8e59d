"""What is done to typed text before anything is decided by it: cleaning, folding, shortening, reading numbers."""

from __future__ import annotations

import re
import unicodedata

MAX_INT = 2**63 - 1
"""Largest integer that SQLite stores; the smallest is ``-MAX_INT - 1``."""

SHOWN_CHARS = 40
"""How much of what was typed a refusal repeats, in characters."""

_MINUS = str.maketrans(dict.fromkeys("‐‑‒–—−", "-"))
_WHOLE = re.compile(r"[+-]?[0-9]+", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,18}(?:[.,][0-9]{0,18})?|[.,][0-9]{1,18})", re.ASCII)
_DIGITS = 30
"""More digits than any number that Easel takes; longer ones are not read (Python refuses them from 4,300 on)."""


def clean(text: str) -> str:
    """Drop what no prompt can hold (lone surrogates, control characters but newline and tab) and outer white space."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in {"Cc", "Cs"}).strip()


def fold(text: str) -> str:
    """Return the text as keywords and numbers are compared: NFKC, lower case, without outer white space."""
    return unicodedata.normalize("NFKC", text).casefold().strip()


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
