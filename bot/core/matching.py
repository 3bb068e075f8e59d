"""Which known word somebody meant who mistyped one; none where nothing is near enough."""

from __future__ import annotations

from collections.abc import Iterable

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
