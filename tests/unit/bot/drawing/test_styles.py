"""Styles: built in, from TOML, from A1111's CSV."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.cards import i18n
from bot.core.errors import BadInput
from bot.drawing.prompt_syntax import TypedLora
from bot.drawing.styles import (
    BUILT_IN,
    CSV_FILE,
    TOML_FILE,
    Style,
    StyleLibrary,
    find_style,
    list_names,
    merge_styles,
    read_csv,
    read_toml,
)


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
    style = find_style(typed, BUILT_IN)
    assert (style and style.name) == name


def test_toml_is_read() -> None:
    found = read_toml('[noir]\nprompt = "film noir, {prompt}"\nnegative = "colour"\n\n["夜"]\nprompt = "夜"\n')
    assert found == {"noir": Style("noir", "film noir, {prompt}", "colour"), "夜": Style("夜", "夜")}


@pytest.mark.parametrize("text", ["[", 'noir = "x"', "[noir]\nprompt = 3", '[noir]\nprompts = "x"'])
def test_wrong_toml_is_refused(text: str) -> None:
    with pytest.raises((ValueError, BadInput)):
        read_toml(text)


def test_styles_hold_loras() -> None:
    ink = '[ink]\nprompt = "{prompt}, ink <lora:Wash:0.5>"\nloras = ["pixel-art:0.8", "oil"]\n'
    assert read_toml(ink) == {
        "ink": Style(
            "ink", "{prompt}, ink", "", (TypedLora("pixel-art", "0.8"), TypedLora("oil"), TypedLora("Wash", "0.5"))
        )
    }
    rows = 'name,prompt,negative_prompt\nInk,"{prompt}, <lora:Wash:0.5>, ink",<lora:x:1>\nAlone,<lora:Wash:1>,\n'
    assert read_csv(rows) == {
        "Ink": Style("Ink", "{prompt}, ink", "<lora:x:1>", (TypedLora("Wash", "0.5"),)),
        "Alone": Style("Alone", loras=(TypedLora("Wash", "1"),)),
    }


@pytest.mark.parametrize(
    ("loras", "key"),
    [
        ('"oil"', "cli.styles.table"),
        ("[1]", "cli.styles.table"),
        ('["oil:3"]', "cli.styles.lora"),
        ('["oil:much"]', "cli.styles.lora"),
    ],
)
def test_a_style_with_wrong_loras_is_left_out(loras: str, key: str) -> None:
    problems: list[BadInput] = []
    assert list(read_toml(f"[ink]\nloras = {loras}\n[noir]\n", problems.append)) == ["noir"]
    assert [problem.key for problem in problems] == [key]
    assert i18n.text("en", key, **problems[0].params)


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


def read(toml: str = "", csv: str = "") -> StyleLibrary:
    problems: list[BadInput] = []
    files = {TOML_FILE: read_toml(toml, problems.append), CSV_FILE: read_csv(csv, problems.append) if csv else {}}
    return merge_styles(files, problems)


def said(problems: tuple[BadInput, ...]) -> list[str]:
    for problem in problems:
        assert i18n.text("zh_CN", problem.key, **problem.params)
    return [i18n.text("en", problem.key, **problem.params) for problem in problems]


def test_own_styles_come_first_and_the_built_in_ones_stay() -> None:
    found = read('[noir]\nprompt = "film noir"\n', "name,prompt,negative_prompt\nOil,oil painting,photo\n")
    assert list(found.styles) == ["noir", "Oil", *BUILT_IN]
    assert (found.own, found.problems, found.replaced) == (2, (), ())


def test_an_own_style_takes_the_place_of_a_built_in_one_and_that_is_said() -> None:
    found = read('[INK]\nprompt = "my ink"\n')
    assert "ink" not in found.styles
    for name in ("ink", "INK", "水墨"):
        style = find_style(name, found.styles)
        assert style is not None
        assert style.prompt == "my ink"
    assert said(found.replaced) == ["styles.toml: your own style takes the place of the built-in style “ink”."]


@pytest.mark.parametrize(
    ("toml", "csv", "names", "sentence"),
    [
        ('x = "a"\n[noir]\nprompt = "n"', "", ["noir"], "styles.toml: “x” is left out; a style is a table"),
        ('[x]\nprompt = 3\n[noir]\nprompt = "n"', "", ["noir"], "styles.toml: “x” is left out; a style is a table"),
        ('[x]\nprompts = "a"\n[noir]\nprompt = "n"', "", ["noir"], "styles.toml: “x”"),
        ('[""]\nprompt = "a"\n[noir]\nprompt = "n"', "", ["noir"], "a name is one line of 1 to 64 characters"),
        ('["a\\nb"]\nprompt = "a"\n[noir]\nprompt = "n"', "", ["noir"], "a name is one line"),
        (
            '["film noir"]\nprompt = "a"\n["Film-Noir"]\nprompt = "b"',
            "",
            ["film noir"],
            "styles.toml has a style of that name",
        ),
        (
            '[noir]\nprompt = "a"',
            "name,prompt,negative_prompt\nNoir,b,\nOil,c,\n",
            ["noir", "Oil"],
            "styles.csv: “Noir” is left out; styles.toml has",
        ),
        (
            "",
            "name,prompt,negative_prompt\nA,one,two,three\nOil,c,\n",
            ["Oil"],
            "“A” is left out, since its row has more columns",
        ),
        ("", 'name,prompt,negative_prompt\nA,"one,\nOil,c,\n', ["Oil"], "styles.csv, line 2 is left out"),
        (
            "",
            'name,prompt,negative_prompt\nOil,c,\nA,"one"two,\nInk2,d,\n',
            ["Oil", "Ink2"],
            "styles.csv, line 3 is left out",
        ),
        ("", f"name,prompt,negative_prompt\nA,{'x' * 5000},\nOil,c,\n", ["Oil"], "may have 4000 characters"),
    ],
)
def test_what_is_wrong_with_one_style_leaves_it_out_alone(toml: str, csv: str, names: list[str], sentence: str) -> None:
    found = read(toml, csv)
    assert list(found.styles)[: found.own] == names
    (only,) = said(found.problems)
    assert sentence in only


@given(st.text(), st.text('abn",;\\n\\r ', max_size=60))
def test_any_file_is_read_or_refused(toml: str, rows: str) -> None:
    for reader, text in ((read_toml, toml), (read_csv, f"name,prompt,negative_prompt\n{rows}"), (read_csv, toml)):
        problems: list[BadInput] = []
        try:
            found = reader(text, problems.append)
        except ValueError:
            continue
        said(tuple(problems))
        for name, style in found.items():
            assert find_style(name, found) is not None
            assert (style.name, name.strip()) == (name, name)


@pytest.mark.parametrize("typed", ["film noir", "FILM-NOIR", "film_noir", "Ｆilm  noir", "film\u2060 noir"])
def test_names_of_several_words_are_found(typed: str) -> None:
    assert find_style(typed, {"Film Noir": Style("Film Noir")}) == Style("Film Noir")


def test_a_long_list_is_cut() -> None:
    assert list_names(["a", "b"]) == "a, b"
    assert list_names(["@a"]) == "@a"
    many = list_names(f"style {number}" for number in range(500))
    assert len(many) < 700
    assert many.endswith(")")


def test_another_csv_is_refused() -> None:
    with pytest.raises(ValueError, match="name"):
        read_csv("a,b\n1,2\n")


def test_built_in_styles_set_the_prompt_in_once() -> None:
    for name, style in BUILT_IN.items():
        assert name == style.name
        assert style.apply("PROMPT").count("PROMPT") == 1
