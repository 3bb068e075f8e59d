"""The word list sees through disguises, and leaves innocent words alone."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bot.moderation
from bot.moderation.word_list import WordMatch, build_word_list, fold_confusables, parse_custom_words, shipped_words

DATA = Path(bot.moderation.__file__).parent
WORDS: dict[str, list[str]] = tomllib.loads((DATA / "words.toml").read_text(encoding="utf-8"))
LISTED = WORDS["sexual"] + WORDS["gore"] + WORDS["forbidden"]
DOUBLES = {
    line[0]: line[2:].strip()
    for line in (DATA / "lookalikes.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
}
HIDDEN = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f\ufe0f\u0301\u3164\u115f\uffa0\u17b4"
WIDE = {chr(c): chr(c + 0xFEE0) for c in range(0x21, 0x7F)}
BARE = {"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t"}

# Places, trades, birds and things that word lists are famous for refusing.
INNOCENT = (
    "Scunthorpe",
    "Penistone",
    "Essex",
    "Sussex and Middlesex",
    "an assassin with a classic glass",
    "grapes and grapefruit, a bunch of grapes",
    "a therapist in her office",
    "the canal, an analysis, an analog clock, a banal title",
    "The pen is mightier than the sword",
    "an al fresco dinner",
    "cockatoo, peacock, cockpit, cocktail",
    "Dick Tracy",
    "shuttlecock, button, titmouse, Titan",
    "a nudge, a denuded hill",
    "a pair of blue tits on a branch",
    "pussy willow in a vase",
    "naked mole rat, macro photo",
    "a Gore-Tex jacket",
    "nude lipstick, studio light",
    "yellow rape field in spring, oilseed rape",
    "sexton, sextant, sextet, unisex",
    "skyscraper, drapes, a scrape, a trapeze, a parapet",
    "T H E R A P I S T",
    "S C R A P E",
    "a sex education class",
    "a man rapping on a stage, he rapped",
    "the annals of history",
    "children playing with a kitten",
    "a 12 year old whisky, a 17-year-old cat",
    "1024x1024, 3:4, 8k, f/1.4, A55",
    "鸡蛋糕",
    "一只小鸡吃蛋糕",
    "路口交通灯",
    "出口 交通标志",
    "个性交友网站的海报",
    "特色情人节蛋糕",
    "粉色情侣装",
    "做爱心早餐的妈妈",
    "爱好音乐的女性爱好者",
    "独自慰问老人",
    "林阴道上的孩子",
    "小鸡巴士开往春天",
    "裸子植物",
    "裸眼可见的星星",
    "血腥玛丽鸡尾酒",
    "少女峰的雪",
    "性感小丑",
)


@pytest.mark.parametrize("text", INNOCENT)
def test_innocent_words_are_left_alone(text: str) -> None:
    assert shipped_words().find(text) is None
    assert shipped_words().find(text.upper()) is None


@given(st.sampled_from(INNOCENT), st.sampled_from(INNOCENT), st.sampled_from((" ", ", ", "。", "\n", " -- ")))
def test_innocent_words_side_by_side_are_left_alone(one: str, other: str, between: str) -> None:
    # A minor in one and a warning of the other would be right; none of these holds a sexual word.
    assert shipped_words().find(one + between + other) is None


@pytest.mark.parametrize("word", LISTED)
def test_every_listed_word_is_found(word: str) -> None:
    found = shipped_words().find(word)
    assert found is not None
    assert found.forbidden or word not in WORDS["forbidden"]


@pytest.mark.parametrize("word", [w for w in LISTED if w.isascii()])
def test_latin_words_match_whole(word: str) -> None:
    assert shipped_words().find(f"qx{word}zq") is None
    assert shipped_words().find(f"({word}:1.3), oil") is not None
    assert shipped_words().find(f"画{word}画") is not None


def disguised(draw: st.DrawFn, word: str) -> str:
    """The word with each letter in another case, width or alphabet, repeated, and with what can't be seen in between."""
    letters = []
    for letter in word:
        forms = [letter, letter.upper(), WIDE.get(letter, letter), *DOUBLES.get(letter, "")]
        form = draw(st.sampled_from(forms))
        # Twice may be another word: rapped is not raped.
        letters.append(form * draw(st.sampled_from((1, 3, 5))) + draw(st.text(HIDDEN, max_size=2)))
    return "".join(letters)


def test_every_double_is_its_letter() -> None:
    # A capital Nu looks like an N, though the small one looks like a v.
    assert {double: fold_confusables(double) for doubles in DOUBLES.values() for double in doubles} == {
        double: fold_confusables(letter) for letter, doubles in DOUBLES.items() for double in doubles
    }


@st.composite
def disguises(draw: st.DrawFn) -> tuple[str, str]:
    word = draw(st.sampled_from(LISTED))
    return word, disguised(draw, word)


@given(disguises(), st.sampled_from(("{}", "a photo of {}", "{}, oil on canvas", "画{}，油画", "((({})))", "“{}”!")))
def test_no_disguise_of_letters_hides_a_word(made: tuple[str, str], around: str) -> None:
    word, text = made
    assert shipped_words().find(around.format(text)) is not None, word


@st.composite
def spread(draw: st.DrawFn) -> tuple[str, str]:
    """A word with something between all its letters: spaces, marks, or one of each."""
    word = draw(st.sampled_from([w for w in LISTED if " " not in w and "-" not in w]))
    gap = draw(st.sampled_from((" ", ".", "-", " - ", "*", "_", "  ", "\n", "\u3000", "・" if word.isascii() else " ")))
    return word, gap.join(word)


@given(spread(), st.sampled_from(("{}", "a photo of a {}", "a {} woman", "画一个{}", "{}, oil")))
def test_no_gaps_between_letters_hide_a_word(made: tuple[str, str], around: str) -> None:
    word, text = made
    assert shipped_words().find(around.format(text)) is not None, word


@given(st.sampled_from([w for w in WORDS["sexual"] if w.isascii() and w.isalpha() and len(w) > 3]), st.data())
def test_digits_for_letters_hide_nothing(word: str, data: st.DataObject) -> None:
    digits = {letter: digit for digit, letter in BARE.items()}
    chosen = [digits[c] if c in digits and data.draw(st.booleans()) else c for c in word]
    text = "".join(chosen)
    if any(c.isalpha() for c in text[:-1]) and not text[-1].isdigit():
        assert shipped_words().find(text) is not None


@given(st.text(max_size=200))
def test_any_text_can_be_looked_at(text: str) -> None:
    shipped_words().find(text)
    assert fold_confusables(fold_confusables(text)) == fold_confusables(text)


@pytest.mark.parametrize(
    "text",
    [
        "nu-de",
        "a nude-sofa",
        "two nudes, penises",
        "p0rn",
        "s3x",
        "n4ked!",
        "blow-job",
        "S.E.X",
        "ɴᴜᴅᴇ",
        "裸.体",
        "画一个裸 体女人",
    ],
)
def test_usual_disguises(text: str) -> None:
    assert shipped_words().find(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "a nude child",
        "naked 12 year old",
        "naked twelve-year-old",
        "nude 15yo girl",
        "aged 16, topless",
        "裸体少女",
        "裸体，12岁",
        "十五岁的全裸女孩",
        "L 0 L I",
        "a l0li",
        "儿 童 色 情",
        "children, s e x",
    ],
)
def test_sexualised_minors_are_forbidden(text: str) -> None:
    found = shipped_words().find(text)
    assert found is not None
    assert found.forbidden


@pytest.mark.parametrize(
    "text", ["nude woman of 25 years", "a naked 30 year old", "二十五岁的裸体女人", "a gory battle", "nude, 1.7 m"]
)
def test_adults_are_not(text: str) -> None:
    found = shipped_words().find(text)
    assert found is not None
    assert not found.forbidden


def test_an_operator_adds_and_takes_away() -> None:
    own = parse_custom_words(["# ours", "", "ass", "-nude", "  Kartoffel ", "-裸体", "土豆", "эротика"])
    words = build_word_list(own)
    assert own.bad == ()
    assert words.find("an ass") == WordMatch("ass")
    assert words.find("a KARTOFFEL, oil") == WordMatch("Kartoffel")
    assert words.find("两个土豆") == WordMatch("土豆")
    assert words.find("ЭРОТИКА") == WordMatch("эротика")
    assert words.find("assassin, classic, compass, an asset") is None
    assert words.find("a nude") is None
    assert words.find("裸体") is None
    assert words.find("naked") == WordMatch("naked")


def test_what_an_operator_allows_is_not_allowed_of_children() -> None:
    words = build_word_list(parse_custom_words(["-nude", "-naked"]))
    assert words.find("nude") is None
    found = words.find("a nude child")
    assert found is not None
    assert found.forbidden


def test_lines_that_say_nothing_are_named() -> None:
    own = parse_custom_words(["nude", "-nothing", "-loli", "!!!", "x" * 81, "-"])
    assert [number for number, _ in own.bad] == [2, 3, 4, 5, 6]
    assert build_word_list(own).find("loli") == WordMatch("loli", forbidden=True)


def test_what_an_operator_adds_is_not_innocent() -> None:
    assert build_word_list(parse_custom_words(["gore-tex"])).find("a gore-tex jacket") is not None


@pytest.mark.parametrize(
    "prompt", ["na(k:1)ed", "(na(k:1.0)ed:1.3)", "a (naked:1.2) man", "na(k : +1 )ed", "n(a:1)k(e:1)d"]
)
def test_weights_hide_no_word(prompt: str) -> None:
    assert shipped_words().find(prompt) == WordMatch("naked")


def test_a_number_in_brackets_stays_an_age() -> None:
    found = shipped_words().find("naked girl (age:12)")
    assert found is not None
    assert found.forbidden
