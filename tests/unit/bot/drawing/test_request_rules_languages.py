"""Which prompts a model can't read, by their script."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.drawing.request_rules import reads_language
from engine.catalogue import demo

BOTH = demo()
ENGLISH = replace(BOTH, languages=("en",))


@pytest.mark.parametrize(
    ("text", "english", "both"),
    [
        ("a red apple", True, True),
        ("ein Bär, déjà vu, π ≈ 3, ☕ “quoted” — 100 €", True, True),
        ("一只猫", False, True),
        ("a cat named 猫", False, True),
        ("ひらがな", False, False),
        ("カタカナ", False, False),
        ("고양이", False, False),
        ("красное яблоко", False, False),
        ("تفاحة", False, False),
        ("，。！：", True, True),
    ],
)
def test_the_script_tells(text: str, english: bool, both: bool) -> None:
    assert (reads_language(text, ENGLISH), reads_language(text, BOTH)) == (english, both)
