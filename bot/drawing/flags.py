"""The grammar of numbers and sizes behind flags: each is read whole, its unit included, or not at all.

``plain`` stands for text in NFKC without invisible characters, as ``bot.drawing.flags`` and ``bot.core.texts.fold`` make it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from bot.core.errors import BadInput
from bot.core.requests import DrawForm
from bot.core.texts import invisible, nearest, shown

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


def strip_unit(field: str, text: str) -> str:
    """Return a number's digits without the unit that its flag may have (``4张``, ``20 steps``); other text as it is."""
    found = _AMOUNTS[field].fullmatch(text)
    return found["number"] if found else text


def value_end(field: str, plain: str, start: int, limit: int) -> int | None:
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


def is_wide(char: str) -> bool:
    """Whether it is a character of a script that is written without spaces."""
    return unicodedata.east_asian_width(char) in {"W", "F"}


def _closes(plain: str, end: int, limit: int, *, number: bool) -> bool:
    if end >= limit or plain[end].isspace():
        return True
    if number and plain[end] in _MULTIPLIERS:
        return False
    if is_wide(plain[end]):
        return True
    if plain[end] in _STOPS:
        rest = end
        while rest < limit and plain[rest] in _STOPS | _CLOSING:
            rest += 1
        return rest == limit or plain[rest].isspace() or is_wide(plain[rest])
    return plain[end] in _CLOSING and (end + 1 == limit or not plain[end + 1].isdigit())


class _Value(Enum):
    """What follows a flag's name."""

    NOTHING = "nothing"
    WORD = "word"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class _Flag:
    name: str
    field: str
    value: _Value = _Value.WORD


_FLAGS = (
    _Flag("size", "size"),
    _Flag("seed", "seed"),
    _Flag("count", "count"),
    _Flag("steps", "steps"),
    _Flag("guidance", "guidance"),
    _Flag("no", "negative", _Value.TEXT),
    _Flag("style", "style"),
    _Flag("model", "model"),
    _Flag("strength", "strength"),
    _Flag("private", "private", _Value.NOTHING),
)
_ALIASES = {"ar": "size", "n": "count", "neg": "no"}
FLAG_NAMES = tuple(flag.name for flag in _FLAGS)
"""Every flag's name, without the dashes and without aliases."""

# Sides that other programs take one by one, and what else they call what Easel has.
_SIDES = frozenset({"width", "height", "w", "h", "x", "y"})
_MEANT = {
    "cfg": "guidance",
    "cfg-scale": "guidance",
    "cfg_scale": "guidance",
    "scale": "guidance",
    "aspect": "ar",
    "ratio": "ar",
    "aspect-ratio": "ar",
    "resolution": "size",
    "number": "count",
    "images": "count",
    "iterations": "steps",
    "denoise": "strength",
    "denoising": "strength",
}

_NUMBERS = frozenset({"size", "seed", "count", "steps", "guidance", "strength"})

_KNOWN = {flag.name: flag for flag in _FLAGS}
_KNOWN |= {alias: _KNOWN[name] for alias, name in _ALIASES.items()}

# Two hyphens (of any kind), or one or two of the dashes that apps make of them.
_HEAD = re.compile(r"(?P<dashes>[-‐]{2}|[‒–—―−]{1,2})(?P<name>[a-z][a-z0-9_-]*)", re.ASCII | re.IGNORECASE)
_SEPARATOR = re.compile(r"[^\S\n]*[=:][^\S\n]*|[^\S\n]+")
_WORD = re.compile(r"\S+")
_LINE = re.compile(r"[^\n]+")
_CLOSERS = frozenset(")]}）」』”")
_TRAILING = ",.;、。"
_QUOTES = {'"': '"“”„‟', "“": '”"“‟', "”": '”"“', "„": '“”"‟', "‟": '”"“', "«": "»", "「": "」", "『": "』"}
_SINGLE = "'‘’‛"


def parse(form: DrawForm) -> DrawForm:
    """Take the flags out of ``form.prompt`` into the form's fields. A field that is given already wins over its flag.

    Where a flag comes twice, the later one counts; several ``--no`` add up. The same form comes back unchanged.

    Raises:
        BadInput: An unknown flag (the nearest known one is named), a flag without its value, an open quotation mark.
    """
    text = _Text(form.prompt)
    found: dict[str, str | bool] = {}
    kept: list[str] = []
    position = 0
    for flag, value, start, end in _scan(text):
        kept.append(text.typed(position, start))
        position = end
        earlier = found.get(flag.field)
        found[flag.field] = f"{earlier}, {value}" if flag.value is _Value.TEXT and earlier else value
    kept.append(text.typed(position, len(text.plain)))
    prompt = kept[0].lstrip()
    for part in kept[1:]:
        prompt = _join(prompt, part)
    given = {name: value for name, value in found.items() if getattr(form, name) is None}
    return replace(form, prompt=prompt.strip(), **given)  # type: ignore[arg-type]  # fields are paired with their types in _FLAGS


class _Text:
    """A prompt, and its visible characters in NFKC with the place in the prompt that each came from."""

    def __init__(self, text: str) -> None:
        self._text = text
        plain: list[str] = []
        self._origin: list[int] = []
        for index, char in enumerate(text):
            if invisible(char):
                continue
            # Character by character: composing across characters changes nothing that flags are made of.
            folded = unicodedata.normalize("NFKC", char)
            plain.append(folded)
            self._origin += [index] * len(folded)
        self._origin.append(len(text))
        self.plain = "".join(plain)

    def typed(self, start: int, end: int) -> str:
        """Return the prompt's own text between two positions of ``plain``."""
        return self._text[self._origin[start] if start else 0 : self._origin[end]]

    def parted(self, position: int) -> bool:
        """Whether something invisible stands before this position of ``plain``."""
        index = self._origin[position] - 1
        return index >= 0 and invisible(self._text[index])


def _scan(text: _Text) -> Iterator[tuple[_Flag, str | bool, int, int]]:
    """Yield each flag with its value and the stretch of ``text.plain`` that it takes."""
    position = 0
    after_flag = 0
    while (head := _HEAD.search(text.plain, position)) is not None:
        flag = _flag_at(text, head, after_flag)
        if flag is None:
            position = head.start() + 1
            continue
        value, position = _value(text, flag, head)
        after_flag = position
        yield flag, value, head.start(), position


def _flag_at(text: _Text, head: re.Match[str], after_flag: int) -> _Flag | None:
    """Return the known flag that ``head`` is, None where the dashes belong to the prompt; refuses an unknown flag."""
    plain = text.plain
    start, end = head.span()
    before = plain[start - 1] if start > after_flag else " "
    flag = _KNOWN.get(head["name"].lower())
    if flag is not None and not _goes_on(plain, end):
        return None if (_in_word(before) and not text.parted(start)) or before in "-‐‒–—―−" else flag
    if not before.isspace() or head["dashes"][0] not in "-‐":
        return None
    rest = _WORD.match(plain, end) if _goes_on(plain, end) else None
    typed = "--" + head["name"] + (rest[0] if rest else "")
    raise _unknown(typed)


def _unknown(typed: str) -> BadInput:
    name = typed.removeprefix("--").lower()
    if name in _SIDES:
        return BadInput("refusal.flag.side", flag=shown(typed))
    near = _MEANT.get(name) or nearest(name, _KNOWN)
    if near is None:
        return BadInput(
            "refusal.flag.none_near", flag=shown(typed), known=", ".join(f"--{known}" for known in FLAG_NAMES)
        )
    return BadInput("refusal.flag.unknown", flag=shown(typed), nearest=f"--{near}")


def _in_word(char: str) -> bool:
    return char.isalnum() and not is_wide(char)


def _goes_on(plain: str, end: int) -> bool:
    """Whether the name goes on after ``end`` in letters that no flag's name has (``--société``)."""
    return end < len(plain) and _in_word(plain[end])


def _value(text: _Text, flag: _Flag, head: re.Match[str]) -> tuple[str | bool, int]:
    """Read the value behind a flag's name; returns it and where it ends."""
    plain, end = text.plain, head.end()
    name = "--" + flag.name
    separator = _SEPARATOR.match(plain, end)
    if flag.value is _Value.NOTHING:
        if separator is not None and "=" in separator[0]:
            raise BadInput("refusal.flag.no_value", flag=name)
        return True, end
    start = separator.end() if separator is not None else end
    quoted = _quoted(plain, start, name)
    if quoted is not None:
        inner, after = quoted
        value = text.typed(*inner).strip()
        if not value:
            raise BadInput("refusal.flag.value_missing", flag=name)
        return value, after
    return _unquoted(text, flag, start)


def _unquoted(text: _Text, flag: _Flag, start: int) -> tuple[str, int]:
    plain = text.plain
    name = "--" + flag.name
    if flag.value is _Value.TEXT:
        # As in Midjourney, it goes on to the next flag; a line's end closes it too.
        line = _LINE.match(plain, start)
        end = min(line.end(), _next_flag(plain, start, line.end())) if line else start
        value = text.typed(start, end).strip().rstrip(",，、;；")
    else:
        limit = _next_flag(plain, start, len(plain))
        known = value_end(flag.field, plain, start, limit) if flag.field in _NUMBERS else None
        if known is not None:
            return plain[start:known], known
        word = _WORD.match(plain, start, limit)
        end = word.end() if word else start
        value = plain[start:end].rstrip(_TRAILING)
    if not value:
        raise BadInput("refusal.flag.value_missing", flag=name)
    return value, end


def _next_flag(plain: str, start: int, end: int) -> int:
    """Return where the next flag, known or not, begins in the stretch; ``end`` where there is none."""
    position = start
    while (head := _HEAD.search(plain, position, end)) is not None:
        before = plain[head.start() - 1]
        known = head["name"].lower() in _KNOWN and not _goes_on(plain, head.end())
        if (known and not _in_word(before)) or (before.isspace() and head["dashes"][0] in "-‐"):
            return head.start()
        position = head.start() + 1
    return end


def _quoted(plain: str, start: int, name: str) -> tuple[tuple[int, int], int] | None:
    """Find a quoted value: where its inside begins and ends, and where it is over. None where nothing is quoted."""
    opening = plain[start : start + 1]
    if opening and opening in _SINGLE:
        # An apostrophe looks the same: the closing one must end a word.
        closing = re.compile(rf"[{_SINGLE}](?=\s|[,.;、。]|$)").search(plain, start + 1)
        return None if closing is None else ((start + 1, closing.start()), closing.end())
    closers = _QUOTES.get(opening)
    if closers is None:
        return None
    for index in range(start + 1, len(plain)):
        if plain[index] in closers:
            return (start + 1, index), index + 1
    raise BadInput("refusal.flag.unclosed", flag=name)


def _join(left: str, right: str) -> str:
    """Close the gap that a flag left: one space, or the line break that was there."""
    gap = left[len(left.rstrip()) :] + right[: len(right) - len(right.lstrip())]
    closed = right[:1] in _CLOSERS  # right behind the flag: "(a cat --seed 7)"
    left, right = left.rstrip(), right.lstrip()
    if not left or not right:
        return left or right
    if closed or right[0] in _TRAILING + "，；":
        return left + right
    return left + ("\n" if "\n" in gap else " ") + right
