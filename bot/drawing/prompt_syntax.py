"""A1111's prompt syntax in prompts for models that do not read it: takes ``(word:1.2)``, ``((word))`` and ``BREAK`` away.

People bring prompts from A1111, but most models read plain language, where a single bracket is a bracket.
"""

from __future__ import annotations

import re

# Innermost first.
_WEIGHTED = re.compile(r"\((?P<text>[^()]*):\s*[+-]?(?P<number>[0-9]{1,9}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})\s*\)")
_ROUND = re.compile(r"(?P<opens>\({2,})(?P<text>[^()]*)(?P<closes>\){2,})")
_SQUARE = re.compile(r"(?P<opens>\[{2,})(?P<text>[^\[\]]*)(?P<closes>\]{2,})")
# A word that a picture should show stands in quotation marks.
_BREAK = re.compile(r"""[\s,]*(?<!["'“‘「『])\bBREAK\b(?!["'”’」』])[\s,]*""")

_LARGEST_WHOLE = 2
"""Largest weight that people write without a point."""

_ESCAPES = {"(": "\ue000", ")": "\ue001", "[": "\ue002", "]": "\ue003"}
"""Private characters that stand for escaped brackets while the others are looked at."""


def without_syntax(prompt: str) -> str:
    """Return a prompt without A1111's weights, doubled brackets, escapes and ``BREAK``.

    Single brackets stay, and so does a prompt of which nothing would be left.
    """
    text = prompt
    for bracket, stand_in in _ESCAPES.items():
        text = text.replace(f"\\{bracket}", stand_in)
    before = None
    while text != before:
        before = text
        text = _WEIGHTED.sub(_unweighted, text)
        text = _ROUND.sub(_unwrapped, _SQUARE.sub(_unwrapped, text))
    text = _BREAK.sub(", ", text).removeprefix(", ").removesuffix(", ")
    for bracket, stand_in in _ESCAPES.items():
        text = text.replace(stand_in, bracket)
    return text if text.strip() else prompt


def _unweighted(found: re.Match[str]) -> str:
    """Return the text of a weight; a ratio, a time or a verse such as (16:9) stays as it is."""
    text, number = found["text"].rstrip(), found["number"]
    weight = "." in number or (int(number) <= _LARGEST_WHOLE and not text[-1:].isdigit())
    return text if weight else found[0]


def _unwrapped(found: re.Match[str]) -> str:
    """Return what stands between doubled brackets, and the brackets that have no partner."""
    opens, closes = found["opens"], found["closes"]
    pairs = min(len(opens), len(closes))
    return opens[pairs:] + found["text"] + closes[pairs:]
