"""Readers of the ``parameters`` text, written after the known behaviour of A1111 and Civitai."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

# A setting: a name of word characters, blanks, dashes and slashes; then a quoted text, or all up to the comma.
_SETTING = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


@dataclass
class Read:
    prompt: str = ""
    negative: str = ""
    settings: dict[str, str] = field(default_factory=dict)


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


def as_civitai(text: str) -> Read:
    """Empty lines go; the first line that begins with ``Steps: `` holds the settings; the rest is split at the marker."""
    lines = [line for line in text.split("\n") if line.strip()]
    details = next(line for line in lines if line.startswith("Steps: "))
    lines.remove(details)
    prompt, *negative = (part.strip() for part in "\n".join(lines).split("Negative prompt:"))
    settings = dict(pair.split(": ", 1) for pair in details.split(", "))
    return Read(prompt, " ".join(negative).strip(), settings)
