"""Readers of the ``parameters`` text, written after the known behaviour of A1111 and Civitai."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.hostile_prompts import said_of, squeezed

# A setting: a name of word characters, blanks, dashes and slashes; then a quoted text, or all up to the comma.
_SETTING = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


@dataclass
class Read:
    prompt: str = ""
    negative: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    loras: list[str] = field(default_factory=list)
    """Civitai alone reads them: names in the prompt."""


def as_a1111(text: str) -> Read:
    """The last line holds the settings if there are three or more; a line that begins so starts the negative prompt."""
    lines = text.strip().split("\n")
    found = _SETTING.findall(lines[-1])
    if len(found) >= 3:
        lines.pop()
    else:
        found = []
    prompt: list[str] = []
    negative: list[str] = []
    into = prompt
    for raw in lines:
        line = raw.strip()
        if line.startswith("Negative prompt:"):
            into = negative
            line = line[len("Negative prompt:") :].strip()
        into.append(line)
    settings = {name: json.loads(v) if v[:1] == '"' == v[-1:] and len(v) > 1 else v for name, v in found}
    return Read("\n".join(prompt), "\n".join(negative), settings)


def check_read(text: str, prompt: str, negative: str, seed: int) -> None:
    """A1111 and Civitai find the prompt, the negative prompt and the settings in this text once each."""
    for reader in (as_a1111, as_civitai):
        read = reader(text)
        assert (squeezed(read.prompt), squeezed(read.negative)) == (said_of(prompt), said_of(negative)), reader
        assert (read.settings["Steps"], read.settings["Seed"]) == ("8", str(seed))


_SPACE = " \t\n\v\f\r\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
"""What JavaScript's ``trim`` takes off."""
_ENDS = re.compile(f"^[{_SPACE}]+|[{_SPACE}]+$")
_NEXT_KEY = re.compile(r"[\w\s]+: ", re.ASCII)
_HASHES = re.compile(r", Hashes:\s*({[^}]+})")
_RESOURCES = re.compile(r", Civitai resources:\s*(\[\{.*?\}\])")
_LORA = re.compile(r"<(?:lora|hypernet):([a-zA-Z0-9_.\-]+):[0-9.]+>")


def _trim(text: str) -> str:
    return _ENDS.sub("", text)


def as_civitai(text: str) -> Read:
    """Civitai's rules.

    Empty lines and A1111's templates go. The first line that begins with ``Steps: `` holds the settings, up to the keys
    of an extension. The rest is split at every ``Negative prompt:``.
    """
    lines = [line for line in text.split("\n") if _trim(line)]
    for template in ("Template: ", "Negative Template: "):
        at = next((i for i, line in enumerate(lines) if line.startswith(template)), None)
        if at is not None:
            del lines[at]
            while at < len(lines) and not _NEXT_KEY.search(lines[at]):
                del lines[at]
    details = next((line for line in lines if line.startswith("Steps: ")), "")
    if details:
        lines.remove(details)
    for key in ("Resources: ", "Hashed prompt: ", "Hashed Negative prompt: "):
        details = details.split(key)[0]
    for pattern in (_HASHES, _RESOURCES):
        if found := pattern.search(details):
            json.loads(found[1])
            details = details.replace(found[0], "", 1)
    prompt, *negative = map(_trim, "\n".join(lines).split("Negative prompt:"))
    return Read(prompt, _trim(" ".join(negative)), _details(details), _LORA.findall(prompt))


def _details(line: str) -> dict[str, Any]:
    """Civitai's settings: quotes open and close without escapes, and a quoted value is settings of its own."""
    found: dict[str, Any] = {}
    key = value = ""
    quoted = False
    for char in line:
        if char == '"':
            if quoted:
                found[key] = _details(_trim(value))
                key = ""
            quoted = not quoted
        elif char == ":" and not quoted:
            key, value = _trim(value), ""
        elif char == "," and not quoted:
            if key:
                found[key] = _trim(value)
            key = value = ""
        else:
            value += char
    if key:
        found[key] = _trim(value)
    return found


def civitai_comment(value: bytes) -> str:
    """Exif's comment as Civitai decodes it: more zeros at odd places of the first 1,000 bytes are little endian."""
    content = value[8:]
    even, odd = (sum(byte == 0 for byte in content[start:1000:2]) for start in (0, 1))
    return content.decode("utf-16-le" if odd > even else "utf-16-be", "replace")
