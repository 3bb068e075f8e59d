"""The filter for commands as people type them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.telegram.commands import TypedCommand, parse_command


@pytest.mark.parametrize(
    ("text", "name", "rest"),
    [
        ("/draw a cat", "draw", "a cat"),
        ("/draw", "draw", ""),
        ("  /DRAW\na cat ", "draw", "a cat"),
        ("/draw一只猫", "draw", "一只猫"),
        ("/draw: a cat", "draw", "a cat"),
        ("/draw : a cat", "draw", "a cat"),
        ("/draw：一只猫", "draw", "一只猫"),
        ("/draw\u2060 a cat", "draw", "a cat"),
        ("/draw\ufeff\u200b", "draw", ""),
        ("\u200e/draw a cat\u2060", "draw", "a cat"),
        ("／draw a cat", "draw", "a cat"),
        ("／ｄｒａｗ　一只猫", "draw", "一只猫"),
        ("/draw@Easel_Bot a cat", "draw", "a cat"),
        ("/draw@easel_bot一只猫", "draw", "一只猫"),
        ("/draw @easel_bot a cat", "draw", "a cat"),
        ("/draw —seed 7 a cat", "draw", "—seed 7 a cat"),
        ("/draw—seed 7", "draw", "—seed 7"),
        ('/draw"a cat"', "draw", '"a cat"'),
        ("/draw １２:３", "draw", "１２:３"),
        ("/quota：set 3/day", "quota", "set 3/day"),
        ("/draw\U0001f408 in space", "draw", "\U0001f408 in space"),
    ],
)
def test_what_is_a_command(text: str, name: str, rest: str) -> None:
    assert parse_command(text, "easel_bot") == TypedCommand(name, rest)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "draw a cat",
        "/",
        "/ draw a cat",
        "/draw2 a cat",
        "/draw_a cat",
        "/draw@other_bot a cat",
        "a /draw",
        "/一只猫",
    ],
)
def test_what_is_none_of_ours(text: str) -> None:
    assert parse_command(text, "easel_bot") is None


def test_a_longer_word_is_another_command() -> None:
    assert parse_command("/drawing a cat", "easel_bot") == TypedCommand("drawing", "a cat")
    assert parse_command("/drawｘ a cat", "easel_bot") == TypedCommand("drawx", "a cat")


@given(st.text(max_size=60))
def test_whatever_is_typed_is_read(text: str) -> None:
    line = parse_command(f"/draw {text}", "easel_bot")
    assert line is not None
    assert line.name == "draw"
    assert line.rest in text
