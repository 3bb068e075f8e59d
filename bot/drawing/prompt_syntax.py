"""Syntax that people know from A1111: LoRAs in prompts and in ``--lora``, and weights, which most models do not read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from bot.core.texts import decimal, fold
from engine.contract import LoraRequest, Range

LORA_WEIGHT = Range(1.0, -2.0, 2.0)
"""Weights of LoRAs."""

_NUMBER = r"[-+‐‒–—−]?(?:[0-9]{1,18}(?:[.,][0-9]{0,18})?|[.,][0-9]{1,18})"
# Input methods for Chinese write the brackets and the colon in full width.
_TAG = re.compile(
    rf"[<＜]\s*(?:lora|lyco)\s*[:：](?P<name>[^<>＜＞:：\n]+)(?:[:：]\s*(?P<weight>{_NUMBER})\s*(?:[:：]\s*(?P<again>{_NUMBER})\s*)?)?[>＞]",
    re.IGNORECASE,
)
_LIKE_A_TAG = re.compile(r"[<＜]\s*(?:lora|lyco)\s*[:：]", re.IGNORECASE)
# A comma belongs to a number only where the item ends behind it: "a:1,2" is a weight of 1.2, "a:1,b" is two LoRAs.
_ITEM = re.compile(rf"(?P<name>[^:,;、]+)(?::(?P<weight>\s*{_NUMBER}\s*(?=[,;、]|$)|[^,;、]*))?(?:[,;、]|$)")
_SEPARATORS = re.compile(r"[,;、]")
_GAPS = re.compile(r"(?:[^\w.]|_)+")
_SUFFIX = ".safetensors"
_COMMAS = ",，、"

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


@dataclass(frozen=True, slots=True)
class TypedLora:
    """A LoRA as typed.

    Attributes:
        name: Its name, not looked up yet.
        weight: The weight's text; None where none was typed.
    """

    name: str
    weight: str | None = None


def take_tags(prompt: str) -> tuple[str, tuple[TypedLora, ...]]:
    """Take A1111's tags, ``<lora:NAME>`` and ``<lora:NAME:WEIGHT>``, out of a prompt.

    ``lyco`` stands for ``lora`` too. A second weight, A1111's for the denoiser alone, is read where it equals the first.
    Anything else stays in the prompt as text; ``has_unread_tag`` finds it.

    Returns:
        The prompt without the tags and the gaps that they leave, and the LoRAs in their order.
    """
    found: list[TypedLora] = []
    position = 0
    # What is joined after a tag was taken out may be a tag: a prompt that is read again has none left.
    while (tag := _next_tag(prompt, position)) is not None:
        found.append(TypedLora(tag["name"].strip(), tag["weight"]))
        kept = _joined(prompt[: tag.start()], prompt[tag.end() :])
        position = min(_before(prompt, tag.start()), len(kept))
        prompt = kept
    return prompt, tuple(found)


def has_unread_tag(prompt: str) -> bool:
    """Return whether a prompt without its tags still has something that begins like one."""
    return _LIKE_A_TAG.search(prompt) is not None


def parse_list(text: str) -> tuple[TypedLora, ...]:
    """Read ``NAME:0.8, NAME``, the value of ``--lora``. Empty parts are skipped; a weight that is no number stays text."""
    plain = unicodedata.normalize("NFKC", text)
    return tuple(
        TypedLora(item["name"].strip(), None if item["weight"] is None else item["weight"].strip())
        for item in _ITEM.finditer(plain)
        if item["name"].strip()
    )


def join_lists(tags: Iterable[TypedLora], text: str) -> str:
    """Return the value of ``--lora`` that stands for tags and for another such value, which comes after them."""
    # A tag's name may hold commas; names are found without regard to them.
    items = [":".join(filter(None, (_SEPARATORS.sub(" ", tag.name), tag.weight))) for tag in tags]
    return ", ".join(filter(None, (*items, text)))


def write_item(lora: LoraRequest) -> str:
    """Return a LoRA as ``parse_list`` reads it."""
    return f"{lora.name}:{lora.weight:g}"


def is_weight(text: str | None) -> bool:
    """Return whether a weight's text is none at all, or a number that is a weight."""
    weight = LORA_WEIGHT.default if text is None else decimal(text)
    return weight is not None and LORA_WEIGHT.low <= weight <= LORA_WEIGHT.high


def lora_key(name: str) -> str:
    """Return a key that is equal for names like ``Pixel Art.safetensors`` and ``pixel-art``."""
    return _GAPS.sub("-", fold(name).removesuffix(_SUFFIX)).strip("-.")


def _next_tag(prompt: str, position: int) -> re.Match[str] | None:
    for tag in _TAG.finditer(prompt, position):
        if tag["name"].strip() and (tag["again"] is None or decimal(tag["again"]) == decimal(tag["weight"])):
            return tag
    return None


def _before(prompt: str, start: int) -> int:
    """Return where a tag could begin that ends behind ``start``."""
    return max(prompt.rfind("<", 0, start), prompt.rfind("＜", 0, start), 0)


def _joined(left: str, right: str) -> str:
    """Join the texts around a tag with one space, one comma, or the line break that was there."""
    gap = left[len(left.rstrip()) :] + right[: len(right) - len(right.lstrip())]
    left, right = left.rstrip(), right.lstrip()
    if right[:1] and right[0] in _COMMAS and (not left or left[-1] in _COMMAS):
        right = right[1:].lstrip()
        gap = gap or " "
    if not right:
        return left.rstrip(_COMMAS + " ")
    if not left or right[0] in _COMMAS:
        return left + right
    return left + ("\n" if "\n" in gap else " " if gap else "") + right


def without_syntax(prompt: str) -> str:
    """Return a prompt without A1111's weights, doubled brackets, escapes and ``BREAK``.

    Single brackets stay, since models that read plain language take them as brackets. So does a prompt of which nothing
    would be left.
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
