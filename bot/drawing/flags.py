"""The flags of a prompt, such as ``--size 3:4``: parses them with the numbers and sizes that follow, and writes them.

``plain`` is text in NFKC without invisible characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from bot.core.errors import BadInput
from bot.core.requests import DrawForm, DrawRequest
from bot.core.texts import invisible, nearest, shown
from bot.drawing import prompt_syntax
from bot.drawing.model_rules import CONTROL_WEIGHT, find_lora
from bot.drawing.styles import Style
from engine.contract import LoraInfo, LoraRequest, Profile

# Signs and Latin, Cyrillic and Greek letters that people type or paste as a multiplication sign or a colon.
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
        # After a space, it is a unit only if the word ends there: "4 张飞" is a name.
        ("count", _WHOLE, rf"(?:张|幅|个|(?:pictures?|images?|pics?)(?![a-z])|{_GAP}[张幅](?!\w))?"),
        ("steps", _WHOLE, rf"(?:步|steps?(?![a-z])|{_GAP}步(?!\w))?"),
        ("seed", _WHOLE, ""),
        ("clip_skip", _WHOLE, ""),
        ("guidance", _DECIMAL, ""),
        ("strength", _DECIMAL, ""),
        ("control_weight", _DECIMAL, ""),
    )
}
# Characters that end a value: the first ones before anything but a digit (1,000 continues), the second ones only
# before a space (7.5 and 7.x continue).
_CLOSING = frozenset(",;:、—–―()[]{}<>«»“”‘’")
_STOPS = frozenset(".!?…'\"")
# Chinese multipliers that continue a number (1万 is 10,000).
_MULTIPLIERS = frozenset("十百千万亿萬億")


class _Value(Enum):
    """The kind of value that follows a flag."""

    NOTHING = "nothing"
    WORD = "word"
    ITEM = "item"
    """A word; those of several flags are combined."""
    TEXT = "text"
    """The rest of the line up to the next flag; those of several flags are combined."""


_COMBINED = frozenset({_Value.ITEM, _Value.TEXT})


@dataclass(frozen=True, slots=True)
class _Flag:
    name: str
    field: str
    value: _Value = _Value.WORD


_PUBLIC = "public"
"""The flag of a request that everybody may see, where one's own are private otherwise."""

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
    _Flag("sampler", "sampler"),
    _Flag("clip-skip", "clip_skip"),
    _Flag("control", "control"),
    _Flag("control-weight", "control_weight"),
    _Flag("lora", "lora", _Value.ITEM),
    _Flag("from", "start"),
    _Flag("private", "private", _Value.NOTHING),
    _Flag(_PUBLIC, "private", _Value.NOTHING),
    _Flag("expand", "expand", _Value.NOTHING),
    _Flag("label", "label", _Value.NOTHING),
)
_ALIASES = {"ar": "size", "n": "count", "neg": "no", "clip_skip": "clip-skip", "control_weight": "control-weight"}

FLAG_NAMES = tuple(flag.name for flag in _FLAGS)
"""Names of the flags, without dashes and aliases."""

# Flags of other programs: single sides, and other names of Easel's flags.
_SIDES = frozenset({"width", "height", "w", "h", "x", "y"})
_SYNONYMS = {
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
    "loras": "lora",
    "clipskip": "clip-skip",
    "scheduler": "sampler",
    "sampler_name": "sampler",
    "sampling": "sampler",
    "lyco": "lora",
    "controlnet": "control",
    "control-scale": "control-weight",
    "control-strength": "control-weight",
}
_NUMBERS = frozenset({"size", "seed", "count", "steps", "guidance", "strength", "clip_skip", "control_weight"})
_KNOWN = {flag.name: flag for flag in _FLAGS}
_KNOWN |= {alias: _KNOWN[name] for alias, name in _ALIASES.items()}
# Two hyphens of any kind, or the one or two dashes that apps replace them by.
_HEAD = re.compile(r"(?P<dashes>[-‐]{2}|[‒–—―−]{1,2})(?P<name>[a-z][a-z0-9_-]*)", re.ASCII | re.IGNORECASE)
_SEPARATOR = re.compile(r"[^\S\n]*[=:][^\S\n]*|[^\S\n]+")
_WORD = re.compile(r"\S+")
_LINE = re.compile(r"[^\n]+")
# The names of samplers have up to four words: "DPM2 a Karras". An "a" that is followed by others begins the prompt.
_NAME_ENDS = r"(?![^\s,;，、。])"
_SAMPLER = re.compile(
    rf"[^\s,;，、。]+(?:{_GAP}(?:\+\+|2M|3M|SDE|Karras){_NAME_ENDS})*"
    rf"(?:{_GAP}a(?:{_GAP}Karras{_NAME_ENDS}|(?=\s*$)))?",
    re.IGNORECASE,
)
_CLOSERS = frozenset(")]}）」』”")
_TRAILING = ",.;、。"
_QUOTES = {'"': '"“”„‟', "“": '”"“‟', "”": '”"“', "„": '“”"‟', "‟": '”"“', "«": "»", "「": "」", "『": "』"}
_SINGLE = "'‘’‛"

_WRITTEN_QUOTES = (('"', '"“”„‟'), ("«", "»"), ("「", "」"), ("『", "』"))
"""Opening marks that are written around a value, each with the marks that close it."""

_PERSONS_TEXT = "\0"
"""Stands for the person's text in a style's template."""


def parse(form: DrawForm) -> DrawForm:
    """Move the flags in ``form.prompt`` to the form's fields. A field that is set already wins over its flag.

    The last of several equal flags counts; several ``--no`` are combined. LoRAs of flags, of A1111's tags
    (``<lora:NAME:0.8>``) and of the field are all kept, the field's last.

    Raises:
        BadInput: An unknown flag (names the nearest one), a flag without its value, or an open quotation mark.
    """
    untagged, tags = prompt_syntax.take_tags(form.prompt)
    text = _Text(untagged)
    found: dict[str, str | bool] = {}
    kept: list[str] = []
    position = 0
    for flag, value, start, end in _scan(text):
        kept.append(text.typed(position, start))
        position = end
        earlier = found.get(flag.field)
        found[flag.field] = f"{earlier}, {value}" if flag.value in _COMBINED and earlier else value
    kept.append(text.typed(position, len(text.plain)))
    prompt = kept[0].lstrip()
    for part in kept[1:]:
        prompt = _join(prompt, part)
    listed = prompt_syntax.join_lists(tags, ", ".join(str(each) for each in (found.pop("lora", ""), form.lora) if each))
    unset = {name: value for name, value in found.items() if getattr(form, name) is None}
    form = replace(form, prompt=prompt.strip(), **unset)  # type: ignore[arg-type]  # fields are paired with their types in _FLAGS
    return replace(form, lora=listed) if listed else form


class _Text:
    """A prompt, and its visible characters in NFKC, each with its index in the prompt."""

    def __init__(self, text: str) -> None:
        self._text = text
        plain: list[str] = []
        self._origin: list[int] = []
        for index, char in enumerate(text):
            if invisible(char):
                continue
            # Character by character: no flag depends on composition across characters.
            folded = unicodedata.normalize("NFKC", char)
            plain.append(folded)
            self._origin += [index] * len(folded)
        self._origin.append(len(text))
        self.plain = "".join(plain)

    def typed(self, start: int, end: int) -> str:
        """Return the original text between two positions of ``plain``."""
        return self._text[self._origin[start] if start else 0 : self._origin[end]]

    def has_invisible_before(self, position: int) -> bool:
        """Return whether an invisible character precedes this position of ``plain``."""
        index = self._origin[position] - 1
        return index >= 0 and invisible(self._text[index])


def _scan(text: _Text) -> Iterator[tuple[_Flag, str | bool, int, int]]:
    """Yield each flag with its value, its start and its end in ``text.plain``."""
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
    """Return the flag at ``head``; None if the dashes belong to the prompt. Raises BadInput for an unknown flag."""
    plain = text.plain
    start, end = head.span()
    before = plain[start - 1] if start > after_flag else " "
    flag = _KNOWN.get(head["name"].lower())
    if flag is not None and not _continues(plain, end):
        return None if (_in_word(before) and not text.has_invisible_before(start)) or before in "-‐‒–—―−" else flag
    if not before.isspace() or head["dashes"][0] not in "-‐":
        return None
    rest = _WORD.match(plain, end) if _continues(plain, end) else None
    typed = "--" + head["name"] + (rest[0] if rest else "")
    raise _unknown(typed)


def _unknown(typed: str) -> BadInput:
    name = typed.removeprefix("--").lower()
    if name in _SIDES:
        return BadInput("refusal.flag.side", flag=shown(typed))
    near = _SYNONYMS.get(name) or nearest(name, _KNOWN)
    if near is None:
        return BadInput(
            "refusal.flag.none_near", flag=shown(typed), known=", ".join(f"--{known}" for known in FLAG_NAMES)
        )
    return BadInput("refusal.flag.unknown", flag=shown(typed), nearest=f"--{near}")


def _in_word(char: str) -> bool:
    return char.isalnum() and not is_wide(char)


def _continues(plain: str, end: int) -> bool:
    """Return whether the word continues after ``end`` with letters that no flag has (``--société``)."""
    return end < len(plain) and _in_word(plain[end])


def _value(text: _Text, flag: _Flag, head: re.Match[str]) -> tuple[str | bool, int]:
    """Return the value of a flag, and its end."""
    plain, end = text.plain, head.end()
    name = "--" + flag.name
    separator = _SEPARATOR.match(plain, end)
    if flag.value is _Value.NOTHING:
        if separator is not None and "=" in separator[0]:
            raise BadInput("refusal.flag.no_value", flag=name)
        return flag.name != _PUBLIC, end
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
        # As in Midjourney, it extends to the next flag, or to the end of the line.
        line = _LINE.match(plain, start)
        end = min(line.end(), _next_flag(plain, start, line.end())) if line else start
        value = text.typed(start, end).strip().rstrip(",，、;；")
    else:
        limit = _next_flag(plain, start, len(plain))
        known = value_end(flag.field, plain, start, limit) if flag.field in _NUMBERS else None
        if known is not None:
            return plain[start:known], known
        word = (_SAMPLER if flag.field == "sampler" else _WORD).match(plain, start, limit)
        end = word.end() if word else start
        value = plain[start:end].rstrip(_TRAILING)
    if not value:
        raise BadInput("refusal.flag.value_missing", flag=name)
    return value, end


def _next_flag(plain: str, start: int, end: int) -> int:
    """Return the start of the next flag, known or not, before ``end``; ``end`` if there is none."""
    position = start
    while (head := _HEAD.search(plain, position, end)) is not None:
        before = plain[head.start() - 1]
        known = head["name"].lower() in _KNOWN and not _continues(plain, head.end())
        if (known and not _in_word(before)) or (before.isspace() and head["dashes"][0] in "-‐"):
            return head.start()
        position = head.start() + 1
    return end


def _quoted(plain: str, start: int, name: str) -> tuple[tuple[int, int], int] | None:
    """Return the start and end inside the quotation marks, and the end after them; None if nothing is quoted."""
    opening = plain[start : start + 1]
    if opening and opening in _SINGLE:
        # An apostrophe looks the same, so the closing mark must end a word.
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
    """Join the text around a removed flag with one space, or with the line break that was there."""
    gap = left[len(left.rstrip()) :] + right[: len(right) - len(right.lstrip())]
    closed = right[:1] in _CLOSERS  # directly after the flag: "(a cat --seed 7)"
    left, right = left.rstrip(), right.lstrip()
    if not left or not right:
        return left or right
    if closed or right[0] in _TRAILING + "，；":
        return left + right
    return left + ("\n" if "\n" in gap else " ") + right


def value_end(field: str, plain: str, start: int, limit: int) -> int | None:
    """Return the end of the number or size that begins at ``start``, including its unit.

    Args:
        field: The form's field: size, seed, count, steps, guidance or strength.
        plain: The text.
        start: Where the value begins.
        limit: Where the next flag begins, or the text ends.

    Returns:
        None if there is no such value, or if the text continues so that another value was meant (``1_000``).
    """
    patterns = (SIZE, RATIO) if field == "size" else (_AMOUNTS[field],)
    for pattern in patterns:
        found = pattern.match(plain, start, limit)
        if found is not None and _closes(plain, found.end(), limit, number=field != "size"):
            return found.end()
    return None


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


def strip_unit(field: str, text: str) -> str:
    """Return a number without the unit of its flag (``4张``, ``20 steps``); any other text unchanged."""
    found = _AMOUNTS[field].fullmatch(text)
    return found["number"] if found else text


def is_wide(char: str) -> bool:
    """Return whether a character is wide or full-width: from a script that is written without spaces."""
    return unicodedata.east_asian_width(char) in {"W", "F"}


def prompt_line(
    request: DrawRequest,
    profile: Profile | None,
    style: Style | None,
    default: Profile,
    loras: Sequence[LoraInfo] = (),
) -> str:
    """Return a request as its author could type it.

    The picture that it starts from, its mask, references and a variation have no flags; what stands in for them is left
    out.

    Args:
        request: A checked request.
        profile: Its model; None when it is not there any more. Values that are the model's own defaults are left out.
        style: Its style; None when it has none, or when the style is not there any more.
        default: The model that is used where none is named.
        loras: The LoRAs that requests may name; a style may name them by their titles.
    """
    flags = [f"--size {request.width}x{request.height}", f"--seed {request.seed}"]
    if request.count > 1:
        flags.append(f"--count {request.count}")
    if profile is None or request.steps != profile.steps.default:
        flags.append(f"--steps {request.steps}")
    if profile is None or request.guidance != profile.guidance.default:
        flags.append(f"--guidance {request.guidance:g}")
    if request.style:
        flags.append(f"--style {_in_quotes(request.style)}")
    if request.model != default.name:
        flags.append(f"--model {request.model}")
    negative, named = without_style(request, style, loras)
    if negative and (profile is None or negative != profile.negative_default):
        flags.append(f"--no {_in_quotes(negative)}")
    flags += [f"--lora {_written_lora(lora)}" for lora in named]
    if request.sampler:
        flags.append(f"--sampler {_in_quotes(request.sampler)}")
    if request.clip_skip:
        flags.append(f"--clip-skip {request.clip_skip}")
    if request.control:
        flags.append(f"--control {request.control}")
        if request.control_weight != CONTROL_WEIGHT.default:
            flags.append(f"--control-weight {request.control_weight:g}")
    if request.private:
        flags.append("--private")
    if request.label:
        flags.append("--label")
    return f"{request.typed} {' '.join(flags)}"


def missing_from_line(request: DrawRequest) -> tuple[str, ...]:
    """Return catalogue keys of notes on what the line leaves out of a request; their ``n`` is the number of references."""
    notes = []
    if request.image or request.variation:
        notes.append("note.prompt.not_whole")
    if request.references:
        notes.append("note.prompt.no_references")
    return tuple(notes)


def without_style(
    request: DrawRequest, style: Style | None, known: Sequence[LoraInfo]
) -> tuple[str, tuple[LoraRequest, ...]]:
    """Return a request's negative prompt and LoRAs as its author could type them beside the style.

    Args:
        request: A checked request.
        style: Its style; None when it has none, or when the style is not there any more.
        known: The LoRAs that requests may name.
    """
    loras = (*request.loras, *_without_loras(request, style, known))
    return _negative_without(request.negative, style), loras


def _without_loras(request: DrawRequest, style: Style | None, known: Sequence[LoraInfo]) -> list[LoraRequest]:
    """Return the LoRAs of the style that the request leaves out, with the weight that leaves them out."""
    named = {lora.name for lora in request.loras}
    found = () if style is None else (find_lora(lora.name, known) for lora in style.loras)
    return [LoraRequest(lora.name, 0.0) for lora in found if lora is not None and lora.name not in named]


def _written_lora(lora: LoraRequest) -> str:
    item = prompt_syntax.write_item(lora)
    return item if _WORD.fullmatch(item) else _in_quotes(item)


def _negative_without(negative: str, style: Style | None) -> str:
    """Return a negative prompt without what its style has added."""
    if style is None:
        return negative
    if style.apply_negative("") == negative:
        return ""
    before, _, after = style.apply_negative(_PERSONS_TEXT).partition(_PERSONS_TEXT)
    if negative.startswith(before) and negative.endswith(after):
        return negative[len(before) : len(negative) - len(after)]
    return negative  # the style was another one then


def _in_quotes(value: str) -> str:
    for opening, closers in _WRITTEN_QUOTES:
        if not any(closer in value for closer in closers):
            return f"{opening}{value}{closers[0]}"
    return f'"{value.translate({ord(mark): chr(39) for mark in _WRITTEN_QUOTES[0][1]})}"'
