"""Cleaning, folding, shortening and reading numbers."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.texts import MAX_INT, SHOWN_CHARS, bounded, clean, decimal, shown, whole


@pytest.mark.parametrize(
    ("typed", "number"),
    [
        ("7", 7),
        ("７", 7),
        (" +7 ", 7),
        ("−7", -7),
        ("007", 7),
        ("7.0", None),
        ("1e3", None),
        ("", None),
        ("1_000", None),
        ("0x10", None),
    ],
)
def test_whole_numbers(typed: str, number: int | None) -> None:
    assert whole(typed) == number


@pytest.mark.parametrize(
    ("typed", "number"),
    [
        ("7", 7.0),
        ("4.5", 4.5),
        ("4,5", 4.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("−1", -1.0),
        ("nan", None),
        ("inf", None),
        ("1e9", None),
        (".", None),
        ("", None),
    ],
)
def test_decimal_numbers(typed: str, number: float | None) -> None:
    assert decimal(typed) == number


@given(st.integers(-(2**64), 2**64))
def test_every_number_is_read_as_it_is_typed(number: int) -> None:
    assert whole(str(number)) == number


def test_absurdly_long_numbers_stay_out_of_every_range() -> None:
    huge, tiny = whole("1" * 5000), whole("-" + "9" * 5000)
    assert huge is not None
    assert tiny is not None
    assert huge > 2**63
    assert tiny < 0


@given(st.integers(-(10**40), 10**40), st.integers(-MAX_INT, MAX_INT), st.integers(-MAX_INT, MAX_INT))
def test_a_bounded_number_is_in_range_or_none(number: int, low: int, high: int) -> None:
    assert bounded(str(number), low, high) == (number if low <= number <= high else None)


@given(st.text("-+0123456789", max_size=6000))
def test_a_bounded_number_fits_the_database(text: str) -> None:
    number = bounded(text)
    assert number is None or -MAX_INT <= number <= MAX_INT


@given(st.text(st.characters()))
def test_clean_text_can_be_stored_and_shown(text: str) -> None:
    cleaned = clean(text)
    assert cleaned.encode().decode() == cleaned
    assert all(c in "\n\t" or unicodedata.category(c) != "Cc" for c in cleaned)
    assert clean(cleaned) == cleaned


def test_line_ends_of_any_kind_are_kept_as_one_kind() -> None:
    assert clean("a\r\nb\rc\0d") == "a\nb\ncd"


@given(st.text())
def test_what_a_refusal_repeats_is_one_short_line(text: str) -> None:
    line = shown(text)
    assert "\n" not in line
    assert len(line) <= SHOWN_CHARS
