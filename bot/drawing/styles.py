"""Styles: a template that a prompt is set into, and what the style keeps out. Built in, from TOML, or from A1111's CSV."""

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


@dataclass(frozen=True, slots=True)
class Style:
    """``prompt`` holds ``{prompt}`` where the person's words go; without it they come first. Both may be empty."""

    name: str
    prompt: str = ""
    negative: str = ""

    def apply(self, prompt: str) -> str:
        """Return the prompt in this style."""
        return _set_in(self.prompt, prompt)

    def apply_negative(self, negative: str) -> str:
        """Return the negative prompt with what this style keeps out."""
        return _set_in(self.negative, negative)


def _set_in(template: str, text: str) -> str:
    # As A1111 does it. Replaced, not formatted: other braces are the style's own.
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
"""The styles that every Easel has, by name."""

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
"""Other names that people type for built-in styles."""


TOML_FILE, CSV_FILE = "styles.toml", "styles.csv"
"""The operator's files in the data folder."""

MAX_NAME_CHARS = 64
MAX_TEXT_CHARS = 4000
MAX_STYLES = 1000
"""Most styles that one file may hold."""

_LISTED_CHARS = 600
_BREAKS = 100
_GAPS = re.compile(r"[\s_-]+")

ProblemHandler: TypeAlias = Callable[[BadInput], None]


@dataclass(frozen=True, slots=True)
class StyleLibrary:
    """The styles that can be asked for.

    Attributes:
        styles: By name; the operator's own first.
        own: How many are the operator's.
        problems: What is left out of the operator's files, each with its sentence.
        replaced: Built-in styles whose place one of the operator's takes, likewise.
    """

    styles: Mapping[str, Style]
    own: int = 0
    problems: tuple[BadInput, ...] = ()
    replaced: tuple[BadInput, ...] = ()


def merge_styles(files: Mapping[str, Mapping[str, Style]], problems: Sequence[BadInput] = ()) -> StyleLibrary:
    """Put the operator's styles and the built-in ones together; names differ in more than case, width, spaces and dashes.

    Args:
        files: The styles of each file by the file's name. Of two styles of a name the first counts; an own one takes the
            place of a built-in one.
        problems: What was left out of the files already.
    """
    own: dict[str, tuple[str, Style]] = {}
    left_out = list(problems)
    for file, found in files.items():
        for style in found.values():
            key = style_key(style.name)
            if key in own:
                left_out.append(BadInput("cli.styles.twice", file=file, name=shown(style.name), other=own[key][0]))
            else:
                own[key] = (file, style)
    replaced = [
        BadInput("cli.styles.replaced", file=own[key][0], name=name)
        for name in BUILT_IN
        if (key := style_key(name)) in own
    ]
    styles = {style.name: style for _, style in own.values()}
    styles |= {name: style for name, style in BUILT_IN.items() if style_key(name) not in own}
    return StyleLibrary(styles, len(own), tuple(left_out), tuple(replaced))


def style_key(name: str) -> str:
    """Return what two names have in common that people take for one: ``Film  noir`` and ``film-noir``."""
    return _GAPS.sub("-", fold(name)).strip("-")


def find_style(name: str, styles: Mapping[str, Style]) -> Style | None:
    """Return the style of that name, whatever its case, width of letters, spaces and dashes; None when there is none."""
    wanted = style_key(name)
    by_name = {style_key(known): style for known, style in styles.items()}
    return by_name.get(wanted) or by_name.get(style_key(ALIASES.get(wanted, "")))


def list_names(names: Iterable[str]) -> str:
    """Return names for a sentence: as many as fit into some lines, and how many more there are."""
    listed, left = [], list(names)
    room = _LISTED_CHARS
    while left and len(left[0]) + 2 <= room:
        room -= len(left[0]) + 2
        listed.append(left.pop(0))
    return ", ".join(listed) + (f" … (+{len(left)})" if left else "")


def read_toml(text: str, left_out: ProblemHandler | None = None) -> dict[str, Style]:
    """Read ``styles.toml``: a table for each style, with ``prompt`` and ``negative``.

    Args:
        text: What is in the file.
        left_out: Told of each style that is no such table, and the others are returned; without it, the first one raises.

    Raises:
        ValueError: It is no TOML, or has too many styles.
        BadInput: As above.
    """
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    styles: dict[str, Style] = {}
    for name, table in tables.items():
        if (
            not isinstance(table, dict)
            or not table.keys() <= {"prompt", "negative"}
            or not all(isinstance(value, str) for value in table.values())
        ):
            _leave_out(BadInput("cli.styles.table", file=TOML_FILE, name=shown(name)), left_out)
            continue
        _put(styles, Style(name.strip(), **table), TOML_FILE, left_out)
    return styles


def read_csv(text: str, left_out: ProblemHandler | None = None) -> dict[str, Style]:
    """Read A1111's ``styles.csv`` (columns name, prompt, negative_prompt; older files have ``text`` for ``prompt``).

    Rows without a name, or without both texts, are separators there and are left out.

    Args:
        text: What is in the file.
        left_out: Told of each row that can't be read, and the others are returned; without it, the first one raises.

    Raises:
        ValueError: There is no column ``name``, there are too many styles, or hardly a row can be read.
        BadInput: As above.
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
                _row(styles, header, row, left_out)
                at = rows.line_num
            return styles
        except csv.Error:
            # A quotation mark that is never closed takes all that follows: go on behind its line.
            broken += 1
            if broken > _BREAKS:
                raise ValueError("hardly a line of it is a row of texts in quotation marks") from None
            _leave_out(BadInput("cli.styles.line", file=CSV_FILE, line=start + at + 1), left_out)
            start += at + 1
    return styles


def _row(styles: dict[str, Style], header: list[str], row: list[str], left_out: ProblemHandler | None) -> None:
    found = dict(zip(header, row, strict=False))
    name = found.get("name", "").strip()
    prompt = found.get("prompt") or found.get("text") or ""
    negative = found.get("negative_prompt", "")
    if not name or not (prompt or negative):
        return
    if len(row) > len(header) and any(column.strip() for column in row[len(header) :]):
        _leave_out(BadInput("cli.styles.columns", file=CSV_FILE, name=shown(name)), left_out)
        return
    _put(styles, Style(name, prompt, negative), CSV_FILE, left_out)


def _put(styles: dict[str, Style], style: Style, file: str, left_out: ProblemHandler | None) -> None:
    if len(styles) >= MAX_STYLES:
        raise ValueError(f"it has more than {MAX_STYLES} styles")
    name = style.name
    if not style_key(name) or len(name) > MAX_NAME_CHARS or clean(name) != name or "\n" in name:
        _leave_out(BadInput("cli.styles.name", file=file, name=shown(name), most=MAX_NAME_CHARS), left_out)
    elif max(len(style.prompt), len(style.negative)) > MAX_TEXT_CHARS:
        _leave_out(BadInput("cli.styles.long", file=file, name=shown(name), most=MAX_TEXT_CHARS), left_out)
    elif name in styles:
        _leave_out(BadInput("cli.styles.twice", file=file, name=shown(name), other=file), left_out)
    else:
        styles[name] = replace(style, prompt=clean(style.prompt), negative=clean(style.negative))


def _leave_out(problem: BadInput, left_out: ProblemHandler | None) -> None:
    if left_out is None:
        raise problem
    left_out(problem)
