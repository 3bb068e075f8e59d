"""What is kept of a language model's answer, and what it is told."""

from __future__ import annotations

import pytest

from engine import expansion
from engine.contract import CannotWrite


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ("A red cat on a mat.", "A red cat on a mat."),
        ('"A red cat,\n on a mat."', "A red cat, on a mat."),
        ("“一只红猫，坐在垫子上。”", "一只红猫，坐在垫子上。"),
        ("**Prompt:** A *red* cat", "A red cat"),
        ("提示词：一只红猫", "一只红猫"),
        ("<think>\nThe user wants a cat.\n</think>\n\nA red cat", "A red cat"),
        ("```text\nA red cat\n```", "A red cat"),
        ("# A cat\n- red\n- on a mat", "A cat red on a mat"),
        (
            "A red cat --size 3:4 —ar 1:1 with well-kept fur，猫--seed 7",
            "A red cat size 3:4 ar 1:1 with well-kept fur，猫seed 7",
        ),
        ("A red cat <lora:x:2>\x00\u202e", "A red cat lora:x:2"),
        ('A sign that says "open"', 'A sign that says "open"'),
    ],
)
def test_an_answer_becomes_one_plain_line(answer: str, kept: str) -> None:
    assert expansion.clean(answer) == kept


def test_an_answer_that_was_cut_off_ends_with_its_last_whole_sentence() -> None:
    assert expansion.clean("A cat. It sits on a", whole=False) == "A cat."
    assert expansion.clean("一只猫。它坐在", whole=False) == "一只猫。"
    assert expansion.clean("A cat, which sits on a ma", whole=False) == "A cat, which sits on a"


def test_a_long_answer_is_cut_at_the_limit() -> None:
    found = expansion.clean("A cat sits. " * 300)
    assert len(found) <= expansion.MAX_CHARS
    assert found.endswith("sits.")


@pytest.mark.parametrize("answer", ["", " \n", '""', "<think>and so on", "**", "..."])
def test_an_answer_of_nothing_is_an_error(answer: str) -> None:
    with pytest.raises(CannotWrite):
        expansion.clean(answer)


def test_the_prompt_is_in_every_form_of_the_question() -> None:
    assert expansion.messages("a cat")[-1] == {"role": "user", "content": "a cat"}
    alone = expansion.messages("a cat", system=False)
    assert [one["role"] for one in alone] == ["user"]
    assert alone[0]["content"].endswith("a cat")
    assert "a cat" in expansion.plain("a cat")
