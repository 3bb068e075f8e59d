"""Words that a model does not know: plurals, hyphens and possessives in English, words without spaces in Chinese."""

from __future__ import annotations

from importlib import resources

import pytest

from bot.core.vocabulary import listed, unknown_words

DEMO = frozenset((resources.files("engine.demo") / "vocabulary.txt").read_text(encoding="utf-8").split())


@pytest.mark.parametrize(
    ("prompt", "unknown"),
    [
        ("a red apple on a blue background", ()),
        ("An AARDVARK on the beach, and an aardvark's cat", ("aardvark",)),
        ("two cats, three-eyed owls and t-rex", ("three-eyed",)),
        ("the dog’s majestic ship in 4k", ("majestic",)),
        ("夜空中的一只猫", ()),
        ("蓝色背景上的红苹果和绿苹果", ()),
        ("草地上的土豚，红色背景", ("土豚",)),
        ("一只土豚和一只犰狳在沙滩", ("土豚", "犰狳")),
        ("кошка", ()),
        ("", ()),
        ("---''' 7 %", ()),
    ],
)
def test_what_the_demo_does_not_know(prompt: str, unknown: tuple[str, ...]) -> None:
    assert unknown_words(prompt, DEMO) == unknown


def test_a_model_without_a_vocabulary_knows_all() -> None:
    assert unknown_words("an aardvark", frozenset()) == ()


def test_a_long_prompt_is_read_in_one_pass() -> None:
    assert unknown_words("豚" * 20_000, DEMO) == ("豚" * 20_000,)


def test_few_words_are_named() -> None:
    assert listed(("aardvark",)) == "aardvark"
    assert listed(("a", "b", "c", "d" * 30, "e")) == f"a, b, c, {'d' * 23}…, …"
