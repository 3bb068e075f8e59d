"""Cutting text into words: what is stored is found by any part of it, and no word can be more than a word."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.history.queries import WORD_CHARS, index_terms, search_terms

HAN = st.text(st.sampled_from("山水云雾猫狗花鸟霓虹城市"), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ()),
        ("A Red, RED apple!", ("a", "red", "apple")),
        ("z-image_1 512x512", ("z", "image", "1", "512x512")),
        ("ＦＵＬＬ　width １２", ("full", "width", "12")),
        ("naïve Ñandú İstanbul Straße", ("naive", "nandu", "istanbul", "strasse")),
        ("猫", ("猫",)),
        ("小猫咪", ("小", "猫", "咪", "小猫", "猫咪")),
        ("猫cat猫", ("猫", "cat")),
        ("原神，启动", ("原", "神", "原神", "启", "动", "启动")),
        ("東京・タワー", ("東", "京", "東京", "タ", "ワ", "ー", "タワ", "ワー")),
        ("데모 그림", ("데모", "그림")),
        ("🐱🐱‍👤!", ("🐱", "👤")),
    ],
)
def test_words(text: str, found: tuple[str, ...]) -> None:
    assert index_terms(text) == found


def test_what_is_sought_is_pairs_unless_it_is_one() -> None:
    assert search_terms("山水画 cats 猫") == ("山水", "水画", "cats", "猫")


def test_long_words_are_cut_the_same_on_both_sides() -> None:
    assert index_terms("x" * 99) == search_terms("x" * 99) == ("x" * WORD_CHARS,)
    assert index_terms("é" * 99) == search_terms("é" * 99) == ("e" * WORD_CHARS,)


@given(st.text())
def test_all_that_is_sought_of_a_text_is_among_its_words(text: str) -> None:
    assert set(search_terms(text)) <= set(index_terms(text))


@given(HAN, HAN, HAN)
def test_any_part_of_a_run_is_found(before: str, part: str, after: str) -> None:
    assert set(search_terms(part)) <= set(index_terms(f"a {before}{part}{after}, cat"))


@given(st.text())
def test_no_word_means_anything_in_a_query(text: str) -> None:
    for word in index_terms(text):
        assert word
        # Whatever is ASCII in it is a letter or a digit: no quote, no operator, no underscore, no space.
        assert re.fullmatch(r"[a-z0-9\u0080-\U0010ffff]+", word), word
        assert not any(character.isspace() for character in word)
