"""Styles: a template that a prompt is set into, and what the style keeps out. Built in, from TOML, or from A1111's CSV."""

from __future__ import annotations

import csv
import io
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass

from bot.policy.texts import fold


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


def find(name: str, styles: Mapping[str, Style]) -> Style | None:
    """Return the style of that name, whatever its case and width of letters; None when there is none."""
    wanted = fold(name)
    by_name = {fold(known): style for known, style in styles.items()}
    return by_name.get(wanted) or by_name.get(ALIASES.get(wanted, ""))


def read_toml(text: str) -> dict[str, Style]:
    """Read ``styles.toml``: a table for each style, with ``prompt`` and ``negative``.

    Raises:
        ValueError: It is no TOML, or a style is not a table of texts; the sentence names the style.
    """
    styles: dict[str, Style] = {}
    for name, table in tomllib.loads(text).items():
        if not isinstance(table, dict) or not table.keys() <= {"prompt", "negative"}:
            raise ValueError(f"Style {name!r} must be a table with prompt and negative alone.")
        if not all(isinstance(value, str) for value in table.values()):
            raise ValueError(f"Style {name!r}: prompt and negative must be texts.")
        styles[name] = Style(name, **table)
    return styles


def read_csv(text: str) -> dict[str, Style]:
    """Read A1111's ``styles.csv`` (columns name, prompt, negative_prompt; older files have ``text`` for ``prompt``).

    Rows without a name, or without both texts, are separators there and are left out.

    Raises:
        ValueError: There is no column ``name``.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    if "name" not in (reader.fieldnames or ()):
        raise ValueError("styles.csv needs a first line with the columns name, prompt, negative_prompt.")
    styles: dict[str, Style] = {}
    for row in reader:
        name = (row.get("name") or "").strip()
        prompt = row.get("prompt") or row.get("text") or ""
        negative = row.get("negative_prompt") or ""
        if name and (prompt or negative):
            styles[name] = Style(name, prompt, negative)
    return styles
