"""Finds the words of a prompt that a model with a small vocabulary was never taught, in English and Chinese."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set

from bot.core.texts import clip, lower

_POSSESSIVE = re.compile("'s?$")

_WORD = re.compile(r"(?<![a-z0-9])[a-z][a-z0-9]*(?:['’-][a-z0-9]+)*|[\u4e00-\u9fff]+")
_LONGEST = 12
"""Characters of the longest Chinese word that is looked up; no vocabulary has longer ones."""

_NAMED, _NAMED_CHARS = 4, 24
"""Most words that are named in a sentence, and their longest length in characters."""

_NO_CONTENT = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "but",
        "by",
        "for",
        "from",
        "has",
        "have",
        "he",
        "her",
        "his",
        "i",
        "in",
        "into",
        "is",
        "it",
        "its",
        "me",
        "my",
        "no",
        "not",
        "of",
        "on",
        "or",
        "our",
        "she",
        "some",
        "that",
        "the",
        "their",
        "them",
        "there",
        "these",
        "they",
        "this",
        "to",
        "was",
        "we",
        "were",
        "what",
        "which",
        "who",
        "with",
        "without",
        "you",
        "your",
    ]
)
"""English words that name nothing to draw."""

_NO_CONTENT_CHARS = frozenset(
    "的了着过在和与及是有也都这那我你他她它们请画给把被让从到向对而或不很一二三四五六七八九十两几上里中下"
)
"""Chinese characters that name nothing to draw."""


def unknown_words(prompt: str, vocabulary: Set[str]) -> tuple[str, ...]:
    """Return the words that are not in the vocabulary, each once, in their order.

    Args:
        prompt: Plain language in any case; other scripts than Latin letters and Chinese are passed over.
        vocabulary: Lower-case words and Chinese phrases; empty: the model knows any, and nothing is returned.
    """
    if not vocabulary:
        return ()
    found = (
        word
        for match in _WORD.finditer(lower(prompt))
        for word in (_english(match[0], vocabulary) if match[0][0].isascii() else _chinese(match[0], vocabulary))
    )
    return tuple(dict.fromkeys(found))


def listed(words: Sequence[str]) -> str:
    """Return the first of the words as a sentence names them."""
    named = ", ".join(clip(word, _NAMED_CHARS) for word in words[:_NAMED])
    return f"{named}, …" if len(words) > _NAMED else named


def _english(word: str, vocabulary: Set[str]) -> Iterator[str]:
    word = _POSSESSIVE.sub("", word.replace("’", "'"))
    parts = word.split("-")
    if not (_is_known(word, vocabulary) or all(_is_known(part, vocabulary) for part in parts)):
        yield word


def _is_known(word: str, vocabulary: Set[str]) -> bool:
    forms = {word, f"{word}s", word.removesuffix("s"), word.removesuffix("es")}
    return not vocabulary.isdisjoint(forms) or word in _NO_CONTENT


def _chinese(run: str, vocabulary: Set[str]) -> Iterator[str]:
    """Yield what is left between the longest known words, read from the left."""
    unknown, at = "", 0
    while at < len(run):
        ends = range(min(len(run), at + _LONGEST), at, -1)
        end = next((end for end in ends if run[at:end] in vocabulary), at)
        if end == at and run[at] not in _NO_CONTENT_CHARS:
            unknown += run[at]
            at += 1
            continue
        if unknown:
            yield unknown
        unknown, at = "", max(end, at + 1)
    if unknown:
        yield unknown
