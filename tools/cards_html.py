"""Messages of Discord and Telegram as HTML, from the components, texts and keyboards that the adapters send."""

from __future__ import annotations

import base64
import html
import itertools
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from babel.dates import format_timedelta

ACTION_ROW, BUTTON, SELECT, SECTION, TEXT, THUMBNAIL, GALLERY, FILE, SEPARATOR, CONTAINER = (
    1,
    2,
    3,
    9,
    10,
    11,
    12,
    13,
    14,
    17,
)
DANGER = 4

STYLE = """
* { box-sizing: border-box }
body { margin: 0; font: 15px/1.375 "Noto Sans", "DejaVu Sans", "Noto Sans CJK SC", "Noto Color Emoji", sans-serif }
main { columns: 3; column-gap: 22px; padding: 20px 22px 0 }
section { break-inside: avoid; padding-bottom: 20px }
h2 { font-size: 11px; font-weight: 600; letter-spacing: .06em; text-transform: uppercase; margin: 0 0 6px }
img { display: block }

.discord { background: #313338; color: #dbdee1 }
.discord h2 { color: #949ba4 }
.message { display: grid; grid-template-columns: 40px 1fr; column-gap: 12px }
.avatar { width: 40px; height: 40px; border-radius: 50%; background: #5865f2; display: grid; place-items: center }
.author { font-weight: 600; color: #f2f3f5; font-size: 15px }
.app { background: #5865f2; color: #fff; font-size: 10px; font-weight: 600; border-radius: 3px; padding: 1px 4px }
.container { background: #2b2d31; border: 1px solid #3f4147; border-radius: 8px; padding: 12px 14px; margin-top: 4px;
  border-left: 4px solid var(--accent); display: grid; gap: 8px; overflow: hidden }
.text { overflow-wrap: anywhere }
.small { font-size: 12px; color: #a5a9b0 }
.time { white-space: nowrap; background: #3f4147; border-radius: 3px; padding: 0 2px }
.mention { color: #c9cdfb; background: #3c4270; border-radius: 3px; padding: 0 2px }
.gallery { display: grid; gap: 4px; border-radius: 8px; overflow: hidden }
.gallery.many { grid-template-columns: 1fr 1fr }
.gallery img { width: 100%; border-radius: 4px }
.row { display: flex; flex-wrap: wrap; gap: 6px }
.button { background: #4e5058; color: #fff; border-radius: 4px; padding: 5px 11px; font-size: 13px; font-weight: 500 }
.button.danger { background: #da373c }
.select { background: #1e1f22; color: #949ba4; border-radius: 4px; padding: 8px 12px; font-size: 13px; width: 100% }
.note { font-size: 12px; color: #949ba4; margin-top: 4px }
hr { border: 0; border-top: 1px solid #3f4147; margin: 2px 0; width: 100% }

.telegram { background: #a9c29a }
.telegram h2 { color: #35512f }
.bubble { background: #fff; border-radius: 14px 14px 14px 4px; overflow: hidden; width: fit-content; max-width: 100%;
  min-width: 60%; box-shadow: 0 1px 1px #0003; margin-bottom: 4px }
.bubble .words { padding: 8px 12px 9px; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 15px }
.bubble .album { display: grid; gap: 2px }
.bubble .album.many { grid-template-columns: 1fr 1fr }
.bubble img { width: 100% }
pre { font: 13.5px/1.4 "DejaVu Sans Mono", "Noto Sans Mono CJK SC", monospace; background: #eef4e8; border-radius: 6px;
  border-left: 3px solid #5ca03e; padding: 6px 9px; margin: 0 0 2px; white-space: pre-wrap }
code { font: 13.5px "DejaVu Sans Mono", "Noto Sans Mono CJK SC", monospace; color: #39752a }
.keys { display: grid; gap: 4px; margin-bottom: 4px }
.keys div { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; gap: 4px }
.key { background: #5b7d53bb; color: #fff; border-radius: 8px; text-align: center; padding: 8px 4px; font-size: 13.5px;
  font-weight: 500; overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
"""


class Sheet:
    """A page with messages, each under a label."""

    def __init__(self, platform: str) -> None:
        self._platform = platform
        self._sections: list[str] = []

    def add(self, label: str, message: str) -> None:
        """Add a message, which is HTML."""
        self._sections.append(f"<section><h2>{html.escape(label)}</h2>{message}</section>")

    def html(self) -> str:
        """Return the whole page."""
        body = f'<body class="{self._platform}"><main>{"".join(self._sections)}</main></body>'
        return f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style>{body}'


def discord_message(
    components: Sequence[Mapping[str, Any]], files: Mapping[str, bytes], locale: str, *, note: str = ""
) -> str:
    """Return a message of components.

    Args:
        components: As they are sent.
        files: The attached files by name.
        locale: The reader's language, for moments.
        note: A line below the message, as private messages have.
    """
    parts = "".join(_component(component, files, locale) for component in components)
    said = f'<div class="note">{html.escape(note)}</div>' if note else ""
    author = '<div class="author">Easel <span class="app">APP</span></div>'
    return f'<div class="message"><div class="avatar">🎨</div><div>{author}{parts}{said}</div></div>'


def _component(component: Mapping[str, Any], files: Mapping[str, bytes], locale: str) -> str:
    inner = "".join(_component(child, files, locale) for child in component.get("components", []))
    match component["type"]:
        case kind if kind == CONTAINER:
            return f'<div class="container" style="--accent: #{component["accent_color"]:06x}">{inner}</div>'
        case kind if kind == TEXT:
            return f'<div class="text">{markdown(component["content"], locale)}</div>'
        case kind if kind == GALLERY:
            images = "".join(_image(files[item["media"]["url"].partition("://")[2]]) for item in component["items"])
            return f'<div class="gallery{" many" if len(component["items"]) > 1 else ""}">{images}</div>'
        case kind if kind == ACTION_ROW:
            return f'<div class="row">{inner}</div>'
        case kind if kind == BUTTON:
            emoji = (component.get("emoji") or {}).get("name") or ""
            label = " ".join(part for part in (emoji, component.get("label") or "") if part)
            style = " danger" if component["style"] == DANGER else ""
            return f'<span class="button{style}">{html.escape(label)}</span>'
        case kind if kind == SELECT:
            return f'<span class="select">{html.escape(component.get("placeholder") or "")} ▾</span>'
        case kind if kind == SEPARATOR:
            return "<hr>"
        case other:
            raise ValueError(f"there is no HTML for components of type {other}")


def _image(data: bytes) -> str:
    return f'<img src="data:image/png;base64,{base64.b64encode(data).decode()}">'


def markdown(text: str, locale: str) -> str:
    """Return the part of Discord's markdown that the adapter writes: escapes, bold, small lines, moments, mentions."""
    lines = []
    for line in text.split("\n"):
        small = line.startswith("-# ")
        said = _inline(line.removeprefix("-# "), locale)
        lines.append(f'<div class="small">{said}</div>' if small else f"<div>{said}</div>")
    return "".join(lines)


_TOKEN = re.compile(r"\\(?P<char>.)|(?P<bold>\*\*)|<t:(?P<time>\d+):R>|<@(?P<who>\d+)>|(?P<plain>[^\\*<]+|.)")


def _inline(text: str, locale: str) -> str:
    said, bold = "", False
    for token in _TOKEN.finditer(text):
        if token["bold"]:
            bold = not bold
            said += "<b>" if bold else "</b>"
        elif token["time"]:
            delta = timedelta(seconds=round(int(token["time"]) - time.time()))
            said += f'<span class="time">{format_timedelta(delta, add_direction=True, locale=locale)}</span>'
        elif token["who"]:
            said += '<span class="mention">@Ann</span>'
        else:
            said += html.escape(token["char"] or token["plain"])
    return said


@dataclass(frozen=True)
class Bubble:
    """One message of Telegram: its text with entities as sent, the labels of its keyboard, and its pictures (PNG)."""

    words: str
    entities: Sequence[Mapping[str, Any]]
    keys: Sequence[Sequence[str]]
    pictures: Sequence[bytes]


_TAGS = {"bold": "b", "italic": "i", "code": "code", "pre": "pre", "date_time": "u"}


def telegram_message(bubble: Bubble) -> str:
    """Return a message with its keyboard."""
    album = "".join(_image(data) for data in bubble.pictures)
    album = f'<div class="album{" many" if len(bubble.pictures) > 1 else ""}">{album}</div>' if album else ""
    said = f'<div class="words">{_marked(bubble.words, bubble.entities)}</div>' if bubble.words else ""
    rows = "".join(f"<div>{''.join(_key(label) for label in row)}</div>" for row in bubble.keys)
    keys = f'<div class="keys">{rows}</div>' if rows else ""
    return f'<div class="bubble">{album}{said}</div>{keys}'


def _key(label: str) -> str:
    return f'<span class="key">{html.escape(label)}</span>'


def _marked(text: str, entities: Sequence[Mapping[str, Any]]) -> str:
    """Return text with entities, whose offsets count UTF-16 code units, as nested tags."""
    units = text.encode("utf-16-le")
    edges = sorted(
        {0, len(units) // 2, *(e["offset"] for e in entities), *(e["offset"] + e["length"] for e in entities)}
    )
    said = ""
    for start, end in itertools.pairwise(edges):
        closing = [e for e in entities if e["offset"] + e["length"] == start]
        said += "".join(f"</{_TAGS[e['type']]}>" for e in sorted(closing, key=lambda e: -e["offset"]))
        opening = [e for e in entities if e["offset"] == start]
        said += "".join(f"<{_TAGS[e['type']]}>" for e in sorted(opening, key=lambda e: -e["length"]))
        said += html.escape(units[2 * start : 2 * end].decode("utf-16-le"))
    last = [e for e in entities if e["offset"] + e["length"] == edges[-1]]
    said += "".join(f"</{_TAGS[e['type']]}>" for e in sorted(last, key=lambda e: -e["offset"]))
    return said.replace("</pre>\n", "</pre>")
