"""The grammar of numbers and sizes behind flags: each is read whole, its unit included, or not at all.

``plain`` stands for text in NFKC without invisible characters, as ``bot.drawing.flags`` and ``bot.core.texts.fold`` make it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

# People's keyboards, and what they copy from: Latin, Cyrillic and Greek letters beside the signs.
_TIMES = "xX×✕✖✗✘⨉⨯╳*хХχΧ"
_COLON = ":∶꞉ː/⁄∕"
_GAP = r"[^\S\n]*"
_PX = r"(?:px|pixels?)(?![a-z])|像素"
_WHOLE = r"[-+‐‒–—−]?[0-9]+"
_DECIMAL = r"[-+‐‒–—−]?(?:[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)"

SIZE = re.compile(
    rf"(?P<width>[0-9]+)(?:{_GAP}(?:px|像素))?{_GAP}[{_TIMES}]{_GAP}(?P<height>[0-9]+)(?:(?:{_PX})(?!\w)|{_GAP}(?:px|像素)(?!\w))?",
    re.IGNORECASE,
)
"""Two sides in pixels."""

RATIO = re.compile(
    rf"(?P<across>[0-9]{{1,9}}(?:\.[0-9]{{1,3}})?){_GAP}[{_COLON}]{_GAP}(?P<down>[0-9]{{1,9}}(?:\.[0-9]{{1,3}})?)"
)
"""Width to height."""

_AMOUNTS: Mapping[str, re.Pattern[str]] = {
    field: re.compile(rf"(?P<number>{number}){unit}", re.IGNORECASE)
    for field, number, unit in (
        # A unit behind a space is one only where no word goes on: "4 张飞" is a name.
        ("count", _WHOLE, rf"(?:张|幅|个|(?:pictures?|images?|pics?)(?![a-z])|{_GAP}[张幅](?!\w))?"),
        ("steps", _WHOLE, rf"(?:步|steps?(?![a-z])|{_GAP}步(?!\w))?"),
        ("seed", _WHOLE, ""),
        ("guidance", _DECIMAL, ""),
        ("strength", _DECIMAL, ""),
    )
}
# What closes a value: the first before anything but a digit (1,000 goes on), the second before a space alone (7.5 and 7.x go on).
_CLOSING = frozenset(",;:、—–―()[]{}<>«»“”‘’")
_STOPS = frozenset(".!?…'\"")
# Chinese words that a number goes on with (1万 is 10,000).
_MULTIPLIERS = frozenset("十百千万亿萬億")


def amount(field: str, text: str) -> str:
    """Return a number's digits without the unit that its flag may have (``4张``, ``20 steps``); other text as it is."""
    found = _AMOUNTS[field].fullmatch(text)
    return found["number"] if found else text


def end_of(field: str, plain: str, start: int, limit: int) -> int | None:
    """Return where the number or the size that begins at ``start`` ends, its unit included.

    Args:
        field: Of the form: size, seed, count, steps, guidance or strength.
        plain: The text.
        start: Where the value begins.
        limit: Where the next flag begins, or the text's end.

    Returns:
        None where there is no such value, or where the text goes on in such a way that another was meant (``1_000``).
    """
    patterns = (SIZE, RATIO) if field == "size" else (_AMOUNTS[field],)
    for pattern in patterns:
        found = pattern.match(plain, start, limit)
        if found is not None and _closes(plain, found.end(), limit, number=field != "size"):
            return found.end()
    return None


def wide(char: str) -> bool:
    """Whether it is a character of a script that is written without spaces."""
    return unicodedata.east_asian_width(char) in {"W", "F"}


def _closes(plain: str, end: int, limit: int, *, number: bool) -> bool:
    if end >= limit or plain[end].isspace():
        return True
    if number and plain[end] in _MULTIPLIERS:
        return False
    if wide(plain[end]):
        return True
    if plain[end] in _STOPS:
        rest = end
        while rest < limit and plain[rest] in _STOPS | _CLOSING:
            rest += 1
        return rest == limit or plain[rest].isspace() or wide(plain[rest])
    return plain[end] in _CLOSING and (end + 1 == limit or not plain[end + 1].isdigit())
