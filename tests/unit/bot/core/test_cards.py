"""What buttons carry: short, read back as it was written, anything else refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.cards import MAX_BYTES, ButtonPress

PRESSES = st.builds(
    ButtonPress,
    st.from_regex(r"[a-z]{1,16}", fullmatch=True),
    st.integers(0, 10**18 - 1),
    st.none() | st.integers(0, 999),
)


@given(PRESSES)
def test_every_press_fits_and_is_read_back(press: ButtonPress) -> None:
    packed = press.pack()
    assert len(packed.encode()) <= MAX_BYTES
    assert packed.isascii()
    assert ButtonPress.unpack(packed) == press


@given(st.text())
def test_any_other_text_is_no_press(typed: str) -> None:
    press = ButtonPress.unpack(typed)
    assert press is None or typed == press.pack() or int(typed.split(":")[2]) == press.job_id


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "easel",
        "easel:reroll",
        "easel:reroll:",
        "easel:reroll:x",
        "easel:reroll:-1",
        "easel:reroll:1:-1",
        "easel:reroll:1:2:3",
        "easel:reroll:1 ",
        "easel:reroll:1\n",
        "other:reroll:1",
        "easel:REROLL:1",
        "easel:reroll:１",
        "easel:reroll:" + "9" * 19,
    ],
)
def test_what_is_not_ours_is_refused(typed: str) -> None:
    assert ButtonPress.unpack(typed) is None


def test_what_does_not_fit_is_never_sent() -> None:
    with pytest.raises(ValueError, match="64"):
        ButtonPress("favourite", 10**60).pack()
