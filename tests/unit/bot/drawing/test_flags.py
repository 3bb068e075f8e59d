"""The prompt-flag grammar: what people's keyboards type, and what stays the prompt's own."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from bot.cards import i18n
from bot.core.errors import BadInput, Refusal
from bot.core.requests import DrawForm
from bot.core.texts import invisible
from bot.drawing import flags
from tests.unit.bot.outcome import outcome


def fields(prompt: str, **given: str | bool) -> dict[str, object]:
    form = flags.parse(DrawForm(prompt, **given))  # type: ignore[arg-type]
    return {name: value for name, value in asdict(form).items() if value not in (None, ())}


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("a cat", {"prompt": "a cat"}),
        ("a cat --size 3:4", {"prompt": "a cat", "size": "3:4"}),
        ("--seed 7 a cat", {"prompt": "a cat", "seed": "7"}),
        ("a --count 2 cat", {"prompt": "a cat", "count": "2"}),
        ("a cat --SIZE Portrait", {"prompt": "a cat", "size": "Portrait"}),
        ("a cat --ar 16:9 --n 3 --neg blur", {"prompt": "a cat", "size": "16:9", "count": "3", "negative": "blur"}),
        ("a cat --steps 12 --guidance 4.5", {"prompt": "a cat", "steps": "12", "guidance": "4.5"}),
        ("a cat --style anime --model z-image", {"prompt": "a cat", "style": "anime", "model": "z-image"}),
        ("a cat --strength .4 --private", {"prompt": "a cat", "strength": ".4", "private": True}),
        ("--private a cat", {"prompt": "a cat", "private": True}),
        ("a cat --label --seed 7", {"prompt": "a cat", "label": True, "seed": "7"}),
        ("a cat --seed=7 --size:3:4", {"prompt": "a cat", "seed": "7", "size": "3:4"}),
        ("a cat --size 1024 x 768 asleep", {"prompt": "a cat asleep", "size": "1024 x 768"}),
        ("a cat --size 3:4, asleep", {"prompt": "a cat, asleep", "size": "3:4"}),
        ("a cat --seed -5", {"prompt": "a cat", "seed": "-5"}),
        # The line's end is kept where a flag stood on a line of its own.
        ("a cat\n--size 3:4\nin a hat", {"prompt": "a cat\nin a hat", "size": "3:4"}),
        # --no goes on to the next flag or the line's end, unless it is quoted.
        ("a cat --no text, frames --seed 7", {"prompt": "a cat", "negative": "text, frames", "seed": "7"}),
        ("a --no text\ncat", {"prompt": "a\ncat", "negative": "text"}),
        ('a --no "text, frames" cat', {"prompt": "a cat", "negative": "text, frames"}),
        ("a --no 'it's a frame' cat", {"prompt": "a cat", "negative": "it's a frame"}),
        ('a cat --no text --no "frames"', {"prompt": "a cat", "negative": "text, frames"}),
        ("a cat --seed 7 --seed 8", {"prompt": "a cat", "seed": "8"}),
    ],
)
def test_flags_become_fields(typed: str, expected: dict[str, object]) -> None:
    assert fields(typed) == expected


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        # Telegram's apps, Word and iOS make one dash of two.
        ("a cat —size 3:4", {"prompt": "a cat", "size": "3:4"}),
        ("a cat –size 3:4", {"prompt": "a cat", "size": "3:4"}),
        ("a cat −−size 3:4", {"prompt": "a cat", "size": "3:4"}),
        ("a cat ——size 3:4", {"prompt": "a cat", "size": "3:4"}),
        # Chinese keyboards: full-width forms, no spaces, their own quotation marks.
        ("一只猫　－－ｓｉｚｅ　３：４", {"prompt": "一只猫", "size": "3:4"}),
        ("一只猫——size 3：4", {"prompt": "一只猫", "size": "3:4"}),
        ("一只猫，——seed １２３——count ４", {"prompt": "一只猫，", "seed": "123", "count": "4"}),
        ("一只猫 --size 512×512", {"prompt": "一只猫", "size": "512×512"}),
        ("一只猫 --size 3:4坐着", {"prompt": "一只猫 坐着", "size": "3:4"}),
        ("一只猫--no “文字、边框”坐着", {"prompt": "一只猫 坐着", "negative": "文字、边框"}),
        ("一只猫 --no「文字」", {"prompt": "一只猫", "negative": "文字"}),
        ("a cat --no ”text“ asleep", {"prompt": "a cat asleep", "negative": "text"}),
        ("a cat --no „text“", {"prompt": "a cat", "negative": "text"}),
        ("a cat --no «text»", {"prompt": "a cat", "negative": "text"}),
        ("a cat --no ‘text’", {"prompt": "a cat", "negative": "text"}),
    ],
)
def test_keyboards_are_understood(typed: str, expected: dict[str, object]) -> None:
    assert fields(typed) == expected


@pytest.mark.parametrize(
    "typed",
    [
        "--",
        "a -- b",
        "text--text",
        "cat--size 3:4",
        "a sea — no waves",
        "a sea—no waves",
        "a well-known cat - size 3",
        "a cat —sise 3:4",
        "—— 猫 ——",
        "ＡＢＣ　full-width words stay，as typed！",
        "ﬁ ½ ｱｲｳ Å",
        "--5 degrees",
        "--猫",
        "a ---size 3",
    ],
)
def test_other_dashes_and_text_are_the_prompts_own(typed: str) -> None:
    assert fields(typed) == {"prompt": typed}


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [
        ("a cat --sise 3:4", "--size"),
        ("a cat --seeds 7", "--seed"),
        ("a cat --negative text", "--neg"),
        ("a cat --stile anime", "--style"),
        ("a cat --privat", "--private"),
        ("a cat --guidence 3", "--guidance"),
        ("--step 3 a cat", "--steps"),
        ("a cat --negative-prompt text", "--neg"),
        ("a cat --cfg-scale 3", "--guidance"),
        ("a cat --ssed 3", "--seed"),
    ],
)
def test_unknown_flags_are_refused_with_the_nearest(typed: str, nearest: str) -> None:
    with pytest.raises(BadInput) as refused:
        flags.parse(DrawForm(typed))
    assert refused.value.key == "refusal.flag.unknown"
    assert refused.value.params["nearest"] == nearest
    assert str(refused.value.params["flag"]) in typed


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("a cat --société x", "refusal.flag.none_near"),
        ("a cat --colour red", "refusal.flag.none_near"),
        ("a cat --h 5", "refusal.flag.side"),
        ("a cat --width 512", "refusal.flag.side"),
        ("a cat --Height 512", "refusal.flag.side"),
    ],
)
def test_a_flag_that_is_like_no_other_names_none(typed: str, key: str) -> None:
    with pytest.raises(BadInput) as refused:
        flags.parse(DrawForm(typed))
    assert refused.value.key == key
    for locale in i18n.LOCALES:
        said = i18n.text(locale, key, **refused.value.params)
        assert "--size" in said
        assert "did you mean" not in said


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        # A unit is the value's.
        ("a cat --size 192x192px", {"prompt": "a cat", "size": "192x192px"}),
        ("一只猫 --size 192x192像素", {"prompt": "一只猫", "size": "192x192像素"}),
        ("一只猫 --size 192×192像素，坐着", {"prompt": "一只猫，坐着", "size": "192×192像素"}),
        ("a cat --size 192px x 192 px asleep", {"prompt": "a cat asleep", "size": "192px x 192 px"}),
        ("一只猫 --count 4张", {"prompt": "一只猫", "count": "4张"}),
        ("一只猫 --count 4 张 坐着", {"prompt": "一只猫 坐着", "count": "4 张"}),
        ("一只猫 --steps 20步", {"prompt": "一只猫", "steps": "20步"}),
        ("a cat --steps 20steps", {"prompt": "a cat", "steps": "20steps"}),
        # A word that only begins like one is the prompt's.
        ("--count 4 张飞", {"prompt": "张飞", "count": "4"}),
        ("--size 192x192像素风的猫", {"prompt": "像素风的猫", "size": "192x192"}),
        ("--size 512x512 pixel art", {"prompt": "pixel art", "size": "512x512"}),
        ("--count 4 pictures of cats", {"prompt": "pictures of cats", "count": "4"}),
        # What is not a value as a whole is refused as a whole, by what checks it.
        ("a cat --seed 1_000", {"prompt": "a cat", "seed": "1_000"}),
        ("a cat --seed 1,000", {"prompt": "a cat", "seed": "1,000"}),
        ("a cat --steps 8/10 asleep", {"prompt": "a cat asleep", "steps": "8/10"}),
        ("a cat --guidance 4.5.6", {"prompt": "a cat", "guidance": "4.5.6"}),
        ("a cat --count 2-3", {"prompt": "a cat", "count": "2-3"}),
        ("一只猫 --seed 1万", {"prompt": "一只猫", "seed": "1万"}),
        ("a cat --size 192x192x192", {"prompt": "a cat", "size": "192x192x192"}),
        # Other people's signs between the sides.
        ("a cat --ar 16/9", {"prompt": "a cat", "size": "16/9"}),
        ("кот --size 192х192", {"prompt": "кот", "size": "192х192"}),
        ("a cat --size 192✖️192", {"prompt": "a cat", "size": "192✖192"}),
        # What stands behind a value is the prompt's.
        ("--seed 7, a cat", {"prompt": ", a cat", "seed": "7"}),
        ("(a cat --seed 7)", {"prompt": "(a cat)", "seed": "7"}),
        ("(a cat --seed 7 ) asleep", {"prompt": "(a cat ) asleep", "seed": "7"}),
        ("a cat --seed 7—asleep", {"prompt": "a cat —asleep", "seed": "7"}),
        ("一只 --seed 7只猫", {"prompt": "一只 只猫", "seed": "7"}),
        ("a cat --seed 7🙂", {"prompt": "a cat 🙂", "seed": "7"}),
    ],
)
def test_a_value_is_read_whole(typed: str, expected: dict[str, object]) -> None:
    assert fields(typed) == expected


INVISIBLE = st.sampled_from(["\u2060", "\u200b", "\u200e", "\u200f", "\u202b", "\ufeff", "\ufe0f", "\u00ad", "\u2066"])


@given(st.sampled_from(["--size 3:4", "--size 192x192", "--seed 7", "--count=2", "--style anime"]), st.data())
def test_what_cannot_be_seen_changes_no_flag(typed: str, data: st.DataObject) -> None:
    marks = data.draw(st.lists(st.tuples(st.integers(0, len(typed)), INVISIBLE), max_size=4))
    marked = typed
    for position, mark in sorted(marks, reverse=True):
        marked = marked[:position] + mark + marked[position:]
    found, expected = fields(f"a cat {marked} asleep"), fields(f"a cat {typed} asleep")
    prompt = "".join(char for char in str(found.pop("prompt")) if not invisible(char))
    assert (" ".join(prompt.split()), found) == (expected.pop("prompt"), expected)


@given(st.text("0123456789_,./x×:-步张px ", min_size=1).map(str.strip).filter(bool))
def test_no_part_of_a_word_that_holds_a_value_is_drawn(value: str) -> None:
    word = value.split(maxsplit=1)[0]
    form = outcome(lambda: flags.parse(DrawForm(f"cat --seed {word}")))
    if not isinstance(form, Refusal) and form.seed is not None:
        left = form.prompt.removeprefix("cat").strip()
        # Punctuation and words of a script without spaces may stand behind it.
        assert not left or not (left[0].isascii() and left[0].isalnum())
        assert "_" not in left[:1]


@pytest.mark.parametrize(
    ("typed", "key", "flag"),
    [
        ("a cat --size", "refusal.flag.value_missing", "--size"),
        ("a cat --seed --count 2", "refusal.flag.value_missing", "--seed"),
        ("a cat --no --count 2", "refusal.flag.value_missing", "--no"),
        ('a cat --no ""', "refusal.flag.value_missing", "--no"),
        ("a cat --neg\na dog", "refusal.flag.value_missing", "--no"),
        ("a cat --no “text", "refusal.flag.unclosed", "--no"),
        ("a cat --private=no", "refusal.flag.no_value", "--private"),
    ],
)
def test_a_missing_or_needless_value_is_named(typed: str, key: str, flag: str) -> None:
    with pytest.raises(BadInput) as refused:
        flags.parse(DrawForm(typed))
    assert (refused.value.key, refused.value.params["flag"]) == (key, flag)


def test_a_given_field_wins_over_its_flag() -> None:
    assert fields("a cat --size 3:4 --seed 1", size="square") == {"prompt": "a cat", "size": "square", "seed": "1"}


def test_a_given_false_wins_too() -> None:
    assert fields("a cat --private", private=False) == {"prompt": "a cat", "private": False}


WORDS = st.lists(
    st.text(
        st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp"), exclude_characters="-‐‒–—―−－﹣﹘︱︲"),
        min_size=1,
    ),
    min_size=1,
    max_size=4,
)
VALUES = {
    "size": st.sampled_from(["3:4", "512x512", "portrait"]),
    "seed": st.integers(0, 2**63 - 1).map(str),
    "count": st.integers(1, 16).map(str),
    "steps": st.integers(1, 50).map(str),
    "guidance": st.floats(0, 20).map(lambda v: f"{v:.2f}"),
    "negative": st.text("abc, äöü猫狗", min_size=1).filter(lambda v: v.strip() == v != ""),
    "style": st.sampled_from(["anime", "ink"]),
    "model": st.sampled_from(["demo", "z-image-turbo"]),
}
FLAG_OF = {"negative": "no"}
DASHES = st.sampled_from(["--", "—", "–", "−", "——", "－－"])


@given(
    words=WORDS,
    wanted=st.fixed_dictionaries({}, optional=VALUES),
    dashes=DASHES,
    order=st.randoms(use_true_random=False),
)
def test_what_is_written_as_flags_is_read_back(
    words: list[str], wanted: dict[str, str], dashes: str, order: object
) -> None:
    assume(not any(word[0] in ",，.;；、。" for word in words))
    parts: list[str] = list(words)
    for name, value in wanted.items():
        quoted = f'"{value}"' if name == "negative" else value
        parts.insert(order.randint(0, len(parts)), f"{dashes}{FLAG_OF.get(name, name)} {quoted}")  # type: ignore[attr-defined]
    found = fields(" ".join(parts))
    # Words stay in their order and as they were typed; between them stands one space.
    assert found.pop("prompt") == " ".join(words)
    assert found == wanted


NASTY = st.one_of(
    st.text(),
    st.text("-—–−－ \n:：×x\"“”'‘’「」=，,0１猫ａs"),
    st.lists(
        st.sampled_from(["--", "—", "size", "no", "private", "seed", " ", "3:4", '"', "猫", "\n", "=", "x", "-"])
    ).map("".join),
)


@given(NASTY)
@example("--no '")
@example("--no 'a' --x")
@example('--no "x"--y')
@example("--private--size 3:4")
@example("\ud800 --size 3:4")
def test_anything_is_read_or_refused_and_reading_twice_changes_nothing(typed: str) -> None:
    form = outcome(lambda: flags.parse(DrawForm(typed)))
    if isinstance(form, Refusal):
        assert form.key.startswith("refusal.flag.")
    else:
        assert flags.parse(form) == form


@given(st.text().filter(lambda text: not set(text) & set("-‐‒–—―−－﹣﹘︱︲⸺⸻﹣－‑")))
def test_a_prompt_without_dashes_stays_as_it_is(typed: str) -> None:
    assert fields(typed) == {"prompt": typed.strip()}
