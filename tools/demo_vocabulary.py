"""Print the words that the demo model was taught, one a line: python tools/demo_vocabulary.py > engine/demo/vocabulary.txt."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parent / "demo_model" / "data.py"
CAPTIONS = ("EN_PRE", "EN_POST", "ZH_PRE", "ZH_POST", "FILL")
WHERE = "上里中下时"
"""Characters that end the Chinese name of a place or time; the name alone is known too."""
COLOUR = "色"
"""The character that ends the Chinese name of a colour; the model reads 绿苹果 as it reads 绿色的苹果."""

OF_SAY = "two a an one cute little big on background with 两 一 可爱的 小小的 的 背景上的 背景 背景上 背景下的 在"
"""What ``say`` puts between the words of its tables."""


def _tables() -> dict[str, Any]:
    """Return the tables of the training data, without what is no constant in them."""
    found = {}
    for node in ast.parse(DATA.read_text(encoding="utf-8")).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                found[name] = [
                    n.value for n in ast.walk(value) if isinstance(n, ast.Constant) and isinstance(n.value, str)
                ]
            case _:
                pass
    return found


def vocabulary() -> list[str]:
    """Return the English words and the Chinese phrases, sorted."""
    tables = _tables()
    phrases = OF_SAY.split()
    for line in tables["OBJECTS"][0].strip().splitlines():
        _, english, chinese = line.split("|")
        measure, _, nouns = chinese.partition(" ")
        phrases += [*english.split(","), measure, *nouns.split(",")]
    for name in ("COLOURS", "PLACES", *CAPTIONS):
        phrases += tables[name]
    words = {name.removesuffix(COLOUR) for name in tables["COLOURS"] if name.endswith(COLOUR)}
    for phrase in phrases:
        words |= set(re.findall(r"[a-z0-9]+(?:['-][a-z0-9]+)*", phrase.lower()))
        words |= {
            part for found in re.findall(r"[\u4e00-\u9fff]+", phrase) for part in (found, found.rstrip(WHERE)) if part
        }
    return sorted(words)


if __name__ == "__main__":
    sys.stdout.buffer.write("".join(f"{word}\n" for word in vocabulary()).encode())
