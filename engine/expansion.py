"""Longer prompts: what a language model is told, and what is kept of its answer. No torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from engine.contract import CannotWrite

MAX_TOKENS = 160
"""Most tokens of an answer."""

MAX_CHARS = 1000
"""Most characters of a longer prompt."""

INSTRUCTION = (
    "You write prompts for a model that draws pictures. Rewrite the prompt of the user as one richer description of the "
    "same picture. Keep its language, its subject, how many there are of each thing, and all colours, names and words "
    "to be written that it gives. Add what it leaves open: composition, light, colours, materials, background and style. "
    "Write one paragraph of at most 80 words. Answer with the description alone: no quotation marks, no list, no "
    "heading, no explanation."
)
"""The system prompt."""

_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_FENCE = re.compile(r"^\s*```\w*\s*$", re.MULTILINE)
_LIST = re.compile(r"^\s*(?:#+|[-*+•]|\d+[.)])\s+", re.MULTILINE)
_MARKS = re.compile(r"\*{1,3}|_{2,3}|`+|[<>]")
_LABEL = re.compile(r"^\s*(?:(?:rewritten |richer )?(?:prompt|description)|提示词|描述)\s*[:：]\s*", re.IGNORECASE)
_FLAG = re.compile(r"(?<![A-Za-z0-9])[-‐‒–—―−]+(?=[A-Za-z])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffd\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_SENTENCE = re.compile(r"[.!?](?=\s|$)|[。！？]")
_QUOTES: Mapping[str, str] = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "「": "」", "『": "』"}


def messages(prompt: str, *, system: bool = True) -> Sequence[Mapping[str, str]]:
    """Return the conversation that asks for a longer prompt; without ``system`` the instruction is a part of the question."""
    if system:
        return [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": prompt}]
    return [{"role": "user", "content": f"{INSTRUCTION}\n\n{prompt}"}]


def plain(prompt: str) -> str:
    """Return the text that a model without a chat template continues."""
    return f"{INSTRUCTION}\n\nPrompt: {prompt}\nDescription:"


def clean(text: str, *, whole: bool = True, limit: int = MAX_CHARS) -> str:
    """Return a model's answer as one line without markup, quotation marks around it, flags and control characters.

    Args:
        text: The answer.
        whole: Whether the model ended it; otherwise a last sentence that was cut off is left out.
        limit: Most characters.

    Raises:
        CannotWrite: Nothing is left.
    """
    text = _THOUGHT.sub(" ", text)
    for pattern in (_FENCE, _LIST):
        text = pattern.sub(" ", text)
    text = _MARKS.sub("", text)
    text = " ".join(_CONTROL.sub(" ", text).split())
    text = _LABEL.sub("", text)
    if text[:1] in _QUOTES and len(text) > 1 and text.endswith(_QUOTES[text[0]]):
        text = text[1:-1].strip()
    text = _FLAG.sub("", text)
    if len(text) > limit:
        whole, text = False, text[:limit]
    if not whole:
        text = _to_last_sentence(text)
    if not any(char.isalnum() for char in text):
        raise CannotWrite(
            "The language model wrote nothing that could be drawn; try again, or word the prompt otherwise."
        )
    return text


def _to_last_sentence(text: str) -> str:
    """Return a text that was cut off up to its last whole sentence, or up to its last whole word if it has no other."""
    ends = [found.end() for found in _SENTENCE.finditer(text)]
    if ends:
        return text[: ends[-1]]
    head, _, _ = text.rpartition(" ")
    return (head or text).rstrip(" ,;:，；：、")
