"""Weights and BREAK in prompts, as A1111 writes them."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.families.emphasis import MAX_WEIGHT, Fragment, Section, is_plain, parse

PROMPTS = st.text(st.sampled_from("ab ()[]:\\.1290-+\nB é猫")) | st.text()
WORDS = st.text(st.sampled_from("abc ,é猫"), min_size=1)
WEIGHTS = st.integers(-999, 999).map(lambda n: n / 100)


def one(prompt: str) -> list[tuple[str, float]]:
    """Return the only section of a prompt, weights to five digits."""
    (section,) = parse(prompt)
    return [(fragment.text, round(fragment.weight, 5)) for fragment in section]


def write(sections: tuple[Section, ...]) -> str:
    """Return a prompt that has these sections."""
    return " BREAK ".join("".join(_written(fragment) for fragment in section) for section in sections)


def _written(fragment: Fragment) -> str:
    text = re.sub(r"([\\()\[\]])", r"\\\1", fragment.text)
    text = re.sub(r"\bBREAK\b", "BREA(K:1)", text)  # a weight of 1 keeps it from being one
    return text if fragment.weight == 1 else f"({text}:{fragment.weight:.25f})"


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        # The examples of A1111's own docstring.
        ("normal text", [("normal text", 1.0)]),
        ("an (important) word", [("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
        ("(unbalanced]", [("(unbalanced]", 1.0)]),
        (r"\(literal\]", [("(literal]", 1.0)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            # Its first bracket has no partner; in A1111 all that follows would have 1.1 times the weight.
            [
                ("a (", 1.0),
                ("house", 1.43),
                (" ", 1.0),
                ("on", 0.90909),
                (" a ", 1.0),
                ("hill", 0.5),
                (", sun, ", 1.0),
                ("sky", 1.331),
                (".", 1.0),
            ],
        ),
        # What people write besides.
        ("(red:1.4) ball", [("red", 1.4), (" ball", 1.0)]),
        ("(red : 1.4 )", [("red ", 1.4)]),
        ("(red:-.5)", [("red", -0.5)]),
        ("[[fog]]", [("fog", 0.82645)]),
        ("((a:2) b:3)", [("a", 6.0), (" b", 3.0)]),
        ("[a:1.2]", [("a:1.2", 0.90909)]),
        ("(a:1.2.3)", [("a:1.2.3", 1.1)]),
        ("a:1.2) b", [("a:1.2) b", 1.0)]),
        (r"a \(b:1.2\)", [("a (b:1.2)", 1.0)]),
        (r"c:\temp\\x", [("c:\\temp\\x", 1.0)]),
        ("smile :) or ;)", [("smile :) or ;)", 1.0)]),
        ("(a [b) c]", [("a ", 1.1), ("b", 1.0), (" c", 0.90909)]),
        ("()", []),
        ("", []),
    ],
)
def test_brackets_give_weights(prompt: str, found: list[tuple[str, float]]) -> None:
    assert one(prompt) == found


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("a BREAK b", ["a", "b"]),
        ("a\nBREAK\nb", ["a", "b"]),
        ("BREAK a BREAK BREAK b BREAK", ["", "a", "", "b", ""]),
        ("BREAKFAST, break, aBREAK", ["BREAKFAST, break, aBREAK"]),
        ("(a BREAK b:2)", ["a", "b"]),
    ],
)
def test_a_break_in_capitals_begins_a_section(prompt: str, texts: list[str]) -> None:
    assert ["".join(f.text for f in section) for section in parse(prompt)] == texts


def test_a_break_inside_brackets_keeps_the_weight_on_both_sides() -> None:
    assert parse("(a BREAK b:2)") == ((Fragment("a", 2.0),), (Fragment("b", 2.0),))


@given(PROMPTS)
def test_every_text_is_a_prompt_and_writing_it_down_keeps_it(prompt: str) -> None:
    found = parse(prompt)
    assert all(math.isfinite(f.weight) and abs(f.weight) <= MAX_WEIGHT and f.text for s in found for f in s)
    assert all(a.weight != b.weight for s in found for a, b in pairwise(s))
    again = parse(write(found))
    # Spaces around a BREAK belong to it.
    assert _trimmed(again) == _trimmed(found)


def _trimmed(sections: tuple[Section, ...]) -> list[list[tuple[str, float]]]:
    return [[(f.text.strip(), f.weight) for f in section if f.text.strip()] for section in sections]


@given(WORDS, WEIGHTS, WEIGHTS)
def test_weights_multiply(text: str, inner: float, outer: float) -> None:
    (section,) = parse(f"(({text}:{inner}):{outer})")
    assert [f.text for f in section] == [text]
    assert section[0].weight == pytest.approx(max(-MAX_WEIGHT, min(MAX_WEIGHT, inner * outer)))


@given(st.integers(0, 20), st.integers(0, 20))
def test_each_pair_of_brackets_counts_once(round_pairs: int, square_pairs: int) -> None:
    prompt = "(" * round_pairs + "[" * square_pairs + "a" + "]" * square_pairs + ")" * round_pairs
    weight = min(MAX_WEIGHT, 1.1 ** (round_pairs - square_pairs))
    ((fragment,),) = parse(prompt)
    assert fragment.text == "a"
    assert fragment.weight == pytest.approx(weight)


@given(st.text())
def test_text_without_the_syntax_is_plain(prompt: str) -> None:
    bare = re.sub(r"[()\[\]\\]|BREAK", "", prompt)
    assert is_plain(bare)
    assert parse(bare) in (((Fragment(bare),),), ((),))


@pytest.mark.parametrize("prompt", ["(a)", "[a]", "a BREAK b", r"\(a\)", "(a:1.2)", "(a:1)"])
def test_text_with_the_syntax_is_not_plain(prompt: str) -> None:
    assert not is_plain(prompt)


@pytest.mark.parametrize("prompt", ["(" * 50_000 + ")" * 50_000, "[" * 100_000, "(a:999999999)" * 5000, ":" * 100_000])
def test_a_long_prompt_takes_linear_time(prompt: str) -> None:
    parse(prompt)  # quadratic work would run into the test's time limit
