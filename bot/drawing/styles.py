"""Styles: templates for the prompt and the negative prompt. Built in, from TOML, or from A1111's CSV."""

from __future__ import annotations

import csv
import io
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from bot.core.errors import BadInput
from bot.core.texts import clean, fold, shown
from bot.drawing import prompt_syntax
from bot.drawing.prompt_syntax import LORA_WEIGHT, TypedLora, is_weight

TOML_FILE, CSV_FILE = "styles.toml", "styles.csv"
"""The operator's files in the data folder."""

MAX_NAME_CHARS = 64
MAX_TEXT_CHARS = 4000

MAX_STYLES = 1000
"""Most styles in one file."""

_MAX_LIST_CHARS = 600
_MAX_BROKEN_ROWS = 100
_GAPS = re.compile(r"[\s_-]+")


@dataclass(frozen=True, slots=True)
class Style:
    """A style. ``{prompt}`` in a template marks the person's text; without it, their text comes first. Both may be empty.

    ``loras`` are drawn with, unless the person gives them another weight.
    """

    name: str
    prompt: str = ""
    negative: str = ""
    loras: tuple[TypedLora, ...] = ()

    def apply(self, prompt: str) -> str:
        """Return the prompt in this style."""
        return _fill(self.prompt, prompt)

    def apply_negative(self, negative: str) -> str:
        """Return the negative prompt in this style."""
        return _fill(self.negative, negative)


def _fill(template: str, text: str) -> str:
    # As A1111 does it. Replaced, not formatted: the template may have other braces.
    if "{prompt}" in template:
        return template.replace("{prompt}", text)
    return ", ".join(part for part in (text, template) if part)


BUILT_IN: Mapping[str, Style] = {
    style.name: style
    for style in (
        Style("photo", "a photograph of {prompt}, natural light, sharp focus", "drawing, painting, illustration"),
        Style("anime", "{prompt}, anime illustration, clean lines, flat shading", "photo, realistic"),
        Style("watercolour", "{prompt}, watercolour painting on paper, soft edges", "photo, 3d render"),
        Style("ink", "{prompt}, Chinese ink wash painting, brush strokes, empty space", "photo, bright colours"),
        Style("pixel", "{prompt}, pixel art, limited palette, crisp pixels", "photo, blurry, smooth gradients"),
        Style("line", "{prompt}, line drawing, black ink on white paper", "colour, shading, photo"),
    )
}
"""The built-in styles, by name."""

ALIASES: Mapping[str, str] = {
    "watercolor": "watercolour",
    "照片": "photo",
    "摄影": "photo",
    "动漫": "anime",
    "水彩": "watercolour",
    "水墨": "ink",
    "像素": "pixel",
    "线稿": "line",
}
"""Other names of built-in styles."""

ProblemHandler: TypeAlias = Callable[[BadInput], None]


@dataclass(frozen=True, slots=True)
class StyleLibrary:
    """The available styles.

    Attributes:
        styles: By name; the operator's own first.
        own: How many are the operator's.
        problems: A message for each style of the operator's files that is left out.
        replaced: A message for each built-in style that the operator has replaced.
    """

    styles: Mapping[str, Style]
    own: int = 0
    problems: tuple[BadInput, ...] = ()
    replaced: tuple[BadInput, ...] = ()


def merge_styles(files: Mapping[str, Mapping[str, Style]], problems: Sequence[BadInput] = ()) -> StyleLibrary:
    """Merge the operator's styles and the built-in ones. Names that differ only in case, width, spaces or dashes are equal.

    Args:
        files: The styles of each file, by the file's name. The first of two styles with one name counts. The operator's
            styles replace built-in ones.
        problems: Messages for styles that the readers left out.
    """
    own: dict[str, tuple[str, Style]] = {}
    messages = list(problems)
    for file, found in files.items():
        for style in found.values():
            key = style_key(style.name)
            if key in own:
                messages.append(BadInput("cli.styles.twice", file=file, name=shown(style.name), other=own[key][0]))
            else:
                own[key] = (file, style)
    replaced = [
        BadInput("cli.styles.replaced", file=own[key][0], name=name)
        for name in BUILT_IN
        if (key := style_key(name)) in own
    ]
    styles = {style.name: style for _, style in own.values()}
    styles |= {name: style for name, style in BUILT_IN.items() if style_key(name) not in own}
    return StyleLibrary(styles, len(own), tuple(messages), tuple(replaced))


def style_key(name: str) -> str:
    """Return a key that is equal for names like ``Film  noir`` and ``film-noir``."""
    return _GAPS.sub("-", fold(name)).strip("-")


def find_style(name: str, styles: Mapping[str, Style]) -> Style | None:
    """Return the style of a name, ignoring case, width, spaces and dashes; None if there is none."""
    wanted = style_key(name)
    by_name = {style_key(known): style for known, style in styles.items()}
    return by_name.get(wanted) or by_name.get(style_key(ALIASES.get(wanted, "")))


NONE_WORDS = frozenset({"none", "无", "没有"})
"""What people type for no style, or to remove a default."""


def is_none(typed: str) -> bool:
    """Return whether a word means no value."""
    return fold(typed) in NONE_WORDS


def list_names(names: Iterable[str]) -> str:
    """Return a list of names for a sentence, shortened to a few lines, with the number of the others."""
    listed, left = [], list(names)
    chars = _MAX_LIST_CHARS
    while left and len(left[0]) + 2 <= chars:
        chars -= len(left[0]) + 2
        listed.append(left.pop(0))
    return ", ".join(listed) + (f" … (+{len(left)})" if left else "")


def read_toml(text: str, on_problem: ProblemHandler | None = None) -> dict[str, Style]:
    """Read ``styles.toml``: a table for each style, with ``prompt``, ``negative`` and ``loras``, a list of ``NAME:WEIGHT``.

    Args:
        text: The file's content.
        on_problem: Called for each invalid style, and the others are returned; without it, the first one raises.

    Raises:
        ValueError: It is not TOML, or has too many styles.
        BadInput: A style is invalid, and there is no ``on_problem``.
    """
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    styles: dict[str, Style] = {}
    for name, table in tables.items():
        if not isinstance(table, dict) or not _is_style(table):
            _report(BadInput("cli.styles.table", file=TOML_FILE, name=shown(name)), on_problem)
            continue
        loras = tuple(lora for item in table.pop("loras", ()) for lora in prompt_syntax.parse_list(item))
        _add(styles, Style(name.strip(), **table, loras=loras), TOML_FILE, on_problem)
    return styles


def _is_style(table: Mapping[str, object]) -> bool:
    texts = {name: value for name, value in table.items() if name != "loras"}
    loras = table.get("loras", [])
    return (
        texts.keys() <= {"prompt", "negative"}
        and all(isinstance(value, str) for value in texts.values())
        and isinstance(loras, list)
        and all(isinstance(item, str) for item in loras)
    )


def read_csv(text: str, on_problem: ProblemHandler | None = None) -> dict[str, Style]:
    """Read A1111's ``styles.csv`` (columns name, prompt, negative_prompt; older files have ``text`` for ``prompt``).

    ``<lora:NAME:WEIGHT>`` in a prompt becomes a LoRA of the style. Rows without a name, or without both texts, are separators and are skipped.

    Args:
        text: The file's content.
        on_problem: Called for each invalid row, and the others are returned; without it, the first one raises.

    Raises:
        ValueError: There is no column ``name``, there are too many styles, or too many rows are invalid.
        BadInput: A row is invalid, and there is no ``on_problem``.
    """
    lines = list(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    try:
        header = [column.strip().casefold() for column in next(csv.reader(lines[:1]), [])]
    except csv.Error:
        header = []
    if "name" not in header:
        raise ValueError("its first line must be the columns: name,prompt,negative_prompt")
    styles: dict[str, Style] = {}
    start, broken = 1, 0
    while start < len(lines):
        rows = csv.reader(lines[start:], strict=True)
        at = 0
        try:
            for row in rows:
                _add_row(styles, header, row, on_problem)
                at = rows.line_num
            return styles
        except csv.Error:
            # An open quotation mark takes all that follows: continue after its line.
            broken += 1
            if broken > _MAX_BROKEN_ROWS:
                raise ValueError("hardly a line of it is a row of texts in quotation marks") from None
            _report(BadInput("cli.styles.line", file=CSV_FILE, line=start + at + 1), on_problem)
            start += at + 1
    return styles


def _add_row(styles: dict[str, Style], header: list[str], row: list[str], on_problem: ProblemHandler | None) -> None:
    found = dict(zip(header, row, strict=False))
    name = found.get("name", "").strip()
    prompt = found.get("prompt") or found.get("text") or ""
    negative = found.get("negative_prompt", "")
    if not name or not (prompt or negative):
        return
    if len(row) > len(header) and any(column.strip() for column in row[len(header) :]):
        _report(BadInput("cli.styles.columns", file=CSV_FILE, name=shown(name)), on_problem)
        return
    _add(styles, Style(name, prompt, negative), CSV_FILE, on_problem)


def _add(styles: dict[str, Style], style: Style, file: str, on_problem: ProblemHandler | None) -> None:
    if len(styles) >= MAX_STYLES:
        raise ValueError(f"it has more than {MAX_STYLES} styles")
    name = style.name
    prompt, tags = prompt_syntax.take_tags(style.prompt)
    style = replace(style, prompt=clean(prompt), negative=clean(style.negative), loras=(*style.loras, *tags))
    if not style_key(name) or len(name) > MAX_NAME_CHARS or clean(name) != name or "\n" in name:
        _report(BadInput("cli.styles.name", file=file, name=shown(name), most=MAX_NAME_CHARS), on_problem)
    elif max(len(style.prompt), len(style.negative)) > MAX_TEXT_CHARS:
        _report(BadInput("cli.styles.long", file=file, name=shown(name), most=MAX_TEXT_CHARS), on_problem)
    elif name in styles:
        _report(BadInput("cli.styles.twice", file=file, name=shown(name), other=file), on_problem)
    elif (wrong := next((lora for lora in style.loras if not is_weight(lora.weight)), None)) is not None:
        most = f"{LORA_WEIGHT.high:g}"
        _report(
            BadInput(
                "cli.styles.lora",
                file=file,
                name=shown(name),
                lora=shown(wrong.name),
                low=f"{LORA_WEIGHT.low:g}",
                most=most,
            ),
            on_problem,
        )
    else:
        styles[name] = style


def _report(problem: BadInput, on_problem: ProblemHandler | None) -> None:
    if on_problem is None:
        raise problem
    on_problem(problem)
