"""Styles: built in, from TOML, from A1111's CSV."""

from __future__ import annotations

import pytest

from bot.policy.styles import BUILT_IN, Style, find, read_csv, read_toml


def test_a_template_takes_the_prompt_in_or_follows_it() -> None:
    assert Style("a", "oil painting of {prompt}, {thick}").apply("a {cat}") == "oil painting of a {cat}, {thick}"
    assert Style("a", "oil painting").apply("a cat") == "a cat, oil painting"
    assert Style("a").apply("a cat") == "a cat"
    assert Style("a", negative="blur").apply_negative("") == "blur"
    assert Style("a", negative="blur").apply_negative("text") == "text, blur"


@pytest.mark.parametrize(
    ("typed", "name"),
    [("INK", "ink"), ("ｉｎｋ", "ink"), ("水墨", "ink"), ("watercolor", "watercolour"), ("oil", None)],
)
def test_styles_are_found_by_the_names_people_type(typed: str, name: str | None) -> None:
    style = find(typed, BUILT_IN)
    assert (style and style.name) == name


def test_toml_is_read() -> None:
    found = read_toml('[noir]\nprompt = "film noir, {prompt}"\nnegative = "colour"\n\n["夜"]\nprompt = "夜"\n')
    assert found == {"noir": Style("noir", "film noir, {prompt}", "colour"), "夜": Style("夜", "夜")}


@pytest.mark.parametrize("text", ["[", 'noir = "x"', "[noir]\nprompt = 3", '[noir]\nprompts = "x"'])
def test_wrong_toml_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_toml(text)


def test_a1111s_csv_is_read() -> None:
    text = (
        "\ufeffname,prompt,negative_prompt\n"
        "None,,\n"
        'Oil,"oil painting of {prompt}, ""thick"" paint","photo, blur"\n'
        "----------,,\n"
        'Two lines,"one\ntwo",\n'
    )
    assert read_csv(text) == {
        "Oil": Style("Oil", 'oil painting of {prompt}, "thick" paint', "photo, blur"),
        "Two lines": Style("Two lines", "one\ntwo"),
    }


def test_the_older_csv_is_read() -> None:
    assert read_csv("name,text\nOil,oil painting\n") == {"Oil": Style("Oil", "oil painting")}


def test_another_csv_is_refused() -> None:
    with pytest.raises(ValueError, match="name"):
        read_csv("a,b\n1,2\n")


def test_built_in_styles_set_the_prompt_in_once() -> None:
    for name, style in BUILT_IN.items():
        assert name == style.name
        assert style.apply("PROMPT").count("PROMPT") == 1
