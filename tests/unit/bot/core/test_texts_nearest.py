"""A suggestion is near what was typed, or there is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.texts import nearest
from bot.drawing.flags import FLAG_NAMES


@pytest.mark.parametrize(
    ("typed", "near"),
    [
        ("sise", "size"),
        ("seeed", "seed"),
        ("ssed", "seed"),
        ("privat", "private"),
        ("guidence", "guidance"),
        ("strenght", "strength"),
        ("step", "steps"),
        ("width", None),
        ("height", None),
        ("h", None),
        ("zzz", None),
        ("", None),
        ("猫", None),
    ],
)
def test_the_nearest_name(typed: str, near: str | None) -> None:
    assert nearest(typed, FLAG_NAMES) == near


@given(st.sampled_from(FLAG_NAMES), st.data())
def test_one_slip_in_a_longer_name_is_found(name: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(name) - 1))
    slipped = data.draw(st.sampled_from([name[:at] + name[at + 1 :], name[:at] + name[at] + name[at:]]))
    if len(name) > 3:
        assert nearest(slipped, FLAG_NAMES) == name


@given(st.text(max_size=12))
def test_a_suggestion_shares_two_thirds_of_its_letters_or_its_beginning(typed: str) -> None:
    near = nearest(typed, FLAG_NAMES)
    if near is not None and not (near.startswith(typed) or typed.startswith(near)):
        assert abs(len(near) - len(typed)) <= max(len(near), len(typed)) // 3
        assert len(set(near) & set(typed)) > 0
