"""What each picture of docs/images shows, by digests of its sources: files, sentences and messages.

``docs/images/sources.json`` holds them. ``tools/docs_images.py`` writes it with the pictures, and a test compares it with
the sources of today.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.cards.i18n import texts

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs/images"
LIST = IMAGES / "sources.json"
MODEL = tuple(sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "engine/demo/model").rglob("*.safetensors")))
"""The demo model's weights, which every picture's drawings come from."""
STATIC = "adapters/web/static"
PREFIXES = ("web.", "owner.")
"""Keys of the sentences that the page shows."""


@dataclass(frozen=True)
class Sources:
    """The sources of a picture.

    Attributes:
        files: Files in the repository.
        texts: The page's sentences that are in the picture: a locale, and their keys.
        messages: HTML of the messages in it.
        version: Whether it shows Easel's version.
    """

    files: Iterable[str] = MODEL
    texts: tuple[str, Iterable[str]] = ("en", ())
    messages: str = ""
    version: bool = False

    def digests(self, picture: bytes) -> dict[str, Any]:
        """Return the entry of the list. Files without markup are left out."""
        locale, keys = self.texts
        known = _sentences(locale)
        return {
            "picture": digest(picture),
            "files": {name: digest(seen) for name in sorted(self.files) if (seen := appearance(ROOT / name))},
            "locale": locale,
            "texts": {key: known[key] for key in sorted(keys)},
            "version": project_version() if self.version else "",
            "messages": digest(without_drawings(self.messages).encode()),
        }


def project_version() -> str:
    """Return the version that pyproject.toml names."""
    version: str = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return version


def digest(data: bytes) -> str:
    """Return the first 16 digits of the SHA-256."""
    return hashlib.sha256(data).hexdigest()[:16]


def appearance(file: Path) -> bytes:
    """Return what of a file may change how the page looks: a script's markup, a style sheet without comments, or all."""
    data = file.read_bytes() if file.is_file() else b""
    match file.suffix:
        case ".js":
            return _squeezed("\n".join(markup(data.decode()))).encode()
        case ".css":
            return _squeezed(re.sub(r"/\*.*?\*/", "", data.decode(), flags=re.DOTALL)).encode()
        case ".html":
            # Links to preload scripts change nothing that is seen.
            return _squeezed(re.sub(r'<link rel="modulepreload"[^>]*>', "", data.decode())).encode()
        case _:
            return data


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def markup(script: str) -> list[str]:
    """Return the ``html`` templates of a script, each with the templates inside it."""
    found, at = [], 0
    while (start := script.find("html`", at)) >= 0:
        at = _end_of_template(script, start + len("html`"))
        found.append(script[start:at])
    return found


def _end_of_template(script: str, at: int) -> int:
    """Return the place after the backtick that closes the template which begins at ``at``."""
    inside = ["`"]
    while inside and at < len(script):
        here, template = script[at], inside[-1] == "`"
        if here == "\\":
            at += 1
        elif template and script.startswith("${", at):
            inside.append("{")
            at += 1
        elif here == "`":
            inside.pop() if template else inside.append("`")
        elif not template and here in "{}":
            inside.append("{") if here == "{" else inside.pop()
        elif not template and here in "\"'":
            at = re.compile(rf"(?:\\.|[^\\{here}])*{here}").match(script, at + 1).end() - 1  # type: ignore[union-attr]
        at += 1
    return at


def without_drawings(html: str) -> str:
    """Return HTML with the bytes of its pictures left out."""
    return re.sub(r"data:image/[^\"')]+", "", html)


def seen_texts(locale: str, prefix: str, visible: str) -> list[str]:
    """Return the keys with this prefix whose sentences a visible text contains, without those of one or two letters."""
    said = _squeezed(visible)
    return [key for key, sentence in texts(locale, prefix).items() if _pattern(sentence).search(said)]


def _pattern(sentence: str) -> re.Pattern[str]:
    parts = [_squeezed(part) for part in re.split(r"\{\w+\}", sentence)]
    if sum(len(part) for part in parts) < 3:
        return re.compile(r"(?!)")
    return re.compile(r"\s?.{1,40}?\s?".join(re.escape(part) for part in parts))


def _sentences(locale: str) -> Mapping[str, str]:
    return {key: sentence for prefix in PREFIXES for key, sentence in texts(locale, prefix).items()}


def listed() -> dict[str, Any]:
    """Return the list: for each picture its entry."""
    entries: dict[str, Any] = json.loads(LIST.read_text(encoding="utf-8")) if LIST.exists() else {}
    return entries


def write(entries: Mapping[str, Any]) -> None:
    """Write the list with these entries renewed."""
    LIST.write_text(
        json.dumps(listed() | entries, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def outdated(name: str, entry: Mapping[str, Any], messages: str) -> list[str]:
    """Return what has changed since a picture was taken, one name each.

    Args:
        name: The picture's file in docs/images.
        entry: Its entry in the list.
        messages: The messages that it would show today.
    """
    keys = [key for key in entry["texts"] if key in _sentences(entry["locale"])]
    path = IMAGES / name
    data = path.read_bytes() if path.is_file() else b""
    today = Sources(entry["files"], (entry["locale"], keys), messages, bool(entry["version"])).digests(data)
    changed = [part for part in ("picture", "messages", "version") if today[part] != entry[part]]
    for part in ("files", "texts"):
        changed += [key for key, known in entry[part].items() if today[part].get(key) != known]
    return changed
