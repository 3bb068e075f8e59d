"""A1111's syntax for models that read plain language: what it marks stays, and ordinary brackets stay too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.drawing.prompt_syntax import without_syntax


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("(red:1.4) ball", "red ball"),
        ("a (red : 1.4 ) ball", "a red ball"),
        ("a (red ball:.5), (blue:-1.2)", "a red ball, blue"),
        ("((red:1.3) ball:0.9)", "red ball"),
        ("((word))", "word"),
        ("(((word))) [[fog]]", "word fog"),
        ("((a (red:1.2) ball))", "a red ball"),
        ("(red:2) ball", "red ball"),
        ("(red:1) ball", "red ball"),
        ("(v2:1.2)", "v2"),
        ("a cat BREAK a dog", "a cat, a dog"),
        ("a cat,\nBREAK\na dog", "a cat, a dog"),
        ("BREAK a cat BREAK", "a cat"),
        (r"saber \(fate\), \[x\]", "saber (fate), [x]"),
        (r"\((a:1.2)\)", "(a)"),
        ("（红色:1.2）的球", "（红色:1.2）的球"),
        ("(红色:1.2)的球", "红色的球"),
    ],
)
def test_weights_doubled_brackets_and_breaks_are_taken_away(typed: str, read: str) -> None:
    assert without_syntax(typed) == read


@pytest.mark.parametrize(
    "prompt",
    [
        "a cat (asleep) on a mat",
        "a sign [closed], a list (one, two)",
        "a clock (12:30)",
        "a screen (16:9)",
        "a verse (John 3:16) on a wall",
        "a page (number: 12)",
        "a coffee break",
        "BREAKFAST on a table",
        'a neon sign that says "BREAK"',
        "a smile :) and ((",
        "f(x) = (a + b) * (c + d)",
        "(((",
        "))((",
        "(:1.2)",
        "BREAK",
        "",
    ],
)
def test_plain_language_stays(prompt: str) -> None:
    assert without_syntax(prompt) == prompt


@given(st.text(st.sampled_from("ab ()[]:\\.12BREAK\n")) | st.text())
def test_every_text_is_read_and_nothing_is_made_up(prompt: str) -> None:
    read = without_syntax(prompt)
    assert len(read) <= len(prompt) + prompt.count("BREAK") * 2
    assert bool(read.strip()) is bool(prompt.strip())
    letters = [char for char in read if char.isalpha()]
    assert letters == [char for char in prompt.replace("BREAK", "") if char.isalpha()] or "BREAK" in prompt


@pytest.mark.parametrize(
    "prompt", ["(" * 5000 + "a:1.2" + ")" * 5000, "(" + ":" * 9000, "(a" + " " * 9000 + ":", "BREAK " * 1500]
)
def test_a_long_prompt_is_read_at_once(prompt: str) -> None:
    without_syntax(prompt)  # quadratic work would run into the test's time limit
