"""Weights and BREAK in prompts, as A1111 writes them: parses a prompt into weighted texts. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

ROUND = 1.1
"""Factor of ``(word)``; ``[word]`` divides by it."""

MAX_WEIGHT = 10.0
"""Largest weight, and with a minus the smallest: nested brackets would multiply to infinity."""

_TOKEN = re.compile(
    r"\\(?P<escaped>[\\()\[\]])"
    r"|(?P<open>[(\[])"
    r"|:\s*(?P<weight>[+-]?(?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30}))\s*\)"
    r"|(?P<close>[)\]])"
    r"|(?P<text>[^\\()\[\]:]+|.)",
    re.DOTALL,
)

_BREAK = re.compile(r"\s*\bBREAK\b\s*")

_OPENS = {")": "(", "]": "["}


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of a prompt with one weight.

    Attributes:
        text: The part, without brackets and with escapes resolved; it keeps its spaces.
        weight: Product of all brackets around it, -10 to 10; 1 is usual.
    """

    text: str
    weight: float = 1.0


Section = tuple[Fragment, ...]
"""What stands between two ``BREAK``; neighbours differ in weight. Empty where there is no text."""


@dataclass(slots=True)
class _Piece:
    """A token: a text; or a bracket that has its partner, whose factor holds from here or ends here."""

    text: str = ""
    breaks: bool = False
    opens: str = ""
    closes: str = ""
    factor: float = 1.0


def parse(prompt: str) -> tuple[Section, ...]:
    """Return the sections of a prompt, at least one. Every text is a prompt: nothing is raised.

    The rules are those of ``parse_prompt_attention`` in A1111's ``modules/prompt_parser.py``. Three cases differ: a bracket
    without its partner is text, a ``BREAK`` inside brackets is one, and a backslash before any other character is text.
    """
    pieces: list[_Piece] = []
    # As in A1111, the two kinds of brackets may overlap.
    opened: dict[str, list[_Piece]] = {"(": [], "[": []}
    for found in _TOKEN.finditer(prompt):
        closing = ")" if found["weight"] is not None else found["close"]
        if found["escaped"] is not None:
            pieces.append(_Piece(found["escaped"]))
        elif found["open"] is not None:
            pieces.append(_Piece(found["open"]))
            opened[found["open"]].append(pieces[-1])
        elif closing is not None and opened[_OPENS[closing]]:
            kind = _OPENS[closing]
            start = opened[kind].pop()
            start.text, start.opens = "", kind
            start.factor = float(found["weight"]) if found["weight"] else ROUND if kind == "(" else 1 / ROUND
            pieces.append(_Piece(closes=kind))
        else:
            first, *others = _BREAK.split(found[0])
            pieces.append(_Piece(first))
            pieces += [_Piece(part, breaks=True) for part in others]
    return _sections(pieces)


def _sections(pieces: Iterable[_Piece]) -> tuple[Section, ...]:
    """Weigh the texts, merge neighbours of equal weight, and split at breaks."""
    sections: list[list[Fragment]] = [[]]
    # The products of the open brackets, by kind; the last one counts.
    factors = {"(": [1.0], "[": [1.0]}
    for piece in pieces:
        if piece.opens:
            factors[piece.opens].append(factors[piece.opens][-1] * piece.factor)
        elif piece.closes:
            factors[piece.closes].pop()
        if piece.breaks:
            sections.append([])
        if not piece.text:
            continue
        weight = max(-MAX_WEIGHT, min(MAX_WEIGHT, factors["("][-1] * factors["["][-1]))
        here = sections[-1]
        if here and here[-1].weight == weight:
            here[-1] = Fragment(here[-1].text + piece.text, weight)
        else:
            here.append(Fragment(piece.text, weight))
    return tuple(tuple(section) for section in sections)


def is_plain(prompt: str) -> bool:
    """Whether a prompt uses none of the syntax, so that it is read as it stands."""
    return not prompt or parse(prompt) == ((Fragment(prompt),),)
