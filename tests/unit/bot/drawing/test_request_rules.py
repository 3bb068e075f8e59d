"""Checks of a draw form: each bad input with its refusal, each good one with its result."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.errors import BadInput, Refusal
from bot.core.requests import STRENGTH, DrawForm, DrawRequest, SourceImage, new_seed
from bot.drawing.request_rules import check_form, reads_language
from bot.drawing.styles import Style
from engine.contract import Capability, NegativePromptSupport, Range
from engine.families.z_image.spec import demo, z_image_turbo

DEMO = demo()
TURBO = z_image_turbo()
FREE = replace(DEMO, name="free", title="Free Model", negative=NegativePromptSupport.ALWAYS)
STYLES = {"sketch": Style("sketch", "sketch of {prompt}, pencil", "colour")}


def ask(prompt: str, model: str | None = None, **given: str | bool) -> DrawRequest:
    form = DrawForm(prompt, model=model, **given)  # type: ignore[arg-type]
    return check_form(form, (DEMO, TURBO, FREE), 4, random.Random(0), STYLES)


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("", "refusal.prompt.empty"),
        ("   \n\t\0 ", "refusal.prompt.empty"),
        ("--seed 7", "refusal.prompt.empty"),
        ("x" * 5000, "refusal.prompt.too_long"),
        ("--" * 50_000, "refusal.prompt.too_long"),
        ("x" * 1990 + " --style sketch", "refusal.prompt.too_long_in_style"),
        ("cat --colour red", "refusal.flag.none_near"),
        ("cat --seed 1_000", "refusal.seed.not_number"),
        ("cat --steps 8/10", "refusal.steps.not_number"),
        ("cat --count 2-3", "refusal.count.not_number"),
        ("cat --steps 1万", "refusal.steps.not_number"),
        ("cat --seed 0x10", "refusal.seed.not_number"),
        ("cat --size 192x192pxx", "refusal.size.not_understood"),
        ("cat --size 500x500", "refusal.size.off_grid"),
        ("cat --size 8x8", "refusal.size.too_small"),
        ("cat --size 9000x9000", "refusal.size.too_large"),
        ("cat --size ABC", "refusal.size.not_understood"),
        ("cat --count 0", "refusal.count.range"),
        ("cat --count 5", "refusal.count.range"),
        ("cat --count 99", "refusal.count.range"),
        ("cat --count many", "refusal.count.not_number"),
        ("cat --seed -2", "refusal.seed.range"),
        ("cat --seed 9223372036854775808", "refusal.seed.range"),
        ("cat --seed " + "9" * 5000, "refusal.seed.range"),
        ("cat --seed 1.5", "refusal.seed.not_number"),
        ("cat --steps 0", "refusal.steps.range"),
        ("cat --steps 51", "refusal.steps.range"),
        ("cat --steps few", "refusal.steps.not_number"),
        ("cat --guidance -1", "refusal.guidance.range"),
        ("cat --guidance 5.01", "refusal.guidance.range"),
        ("cat --guidance nan", "refusal.guidance.not_number"),
        ("cat --guidance 3 --model z-image-turbo", "refusal.guidance.fixed"),
        ("cat --model nothing", "refusal.model.unknown"),
        ("cat --style nothing", "refusal.style.none_near"),
        ("cat --style skecth", "refusal.style.unknown"),
        ("cat --strength 0.5", "refusal.strength.no_image"),
    ],
)
def test_bad_input_is_refused(typed: str, key: str) -> None:
    with pytest.raises(BadInput) as refused:
        ask(typed)
    assert refused.value.key == key


def test_a_long_negative_prompt_is_refused() -> None:
    with pytest.raises(BadInput) as refused:
        ask("cat", model="free", negative="x" * 2001)
    assert refused.value.key == "refusal.negative.too_long"


def test_what_is_not_asked_for_is_the_models_default() -> None:
    request = ask("a cat")
    assert (request.width, request.height) == (192, 192)
    assert (request.steps, request.guidance, request.count, request.model) == (8, 0.0, 1, "demo")
    assert (request.private, request.style, request.notes) == (False, "", ())
    assert 0 <= request.seed < 2**32


def test_everything_that_is_asked_for_is_taken() -> None:
    request = ask(
        "ein Bär --size 16:9 --seed 9223372036854775807 --count 4 --steps 12 --guidance 2,5 --no “text” --private"
    )
    assert request == DrawRequest(
        prompt="ein Bär",
        typed="ein Bär",
        negative="text",
        width=256,
        height=144,
        steps=12,
        guidance=2.5,
        seed=2**63 - 1,
        count=4,
        model="demo",
        private=True,
    )


def test_a_prompt_at_the_limit_is_taken() -> None:
    assert ask("猫" * DEMO.prompt_chars).prompt == "猫" * DEMO.prompt_chars


def test_models_are_found_by_any_of_their_names() -> None:
    for name in ("Z-Image-Turbo", "ｚ-image-turbo", "Tongyi-MAI/Z-Image-Turbo"):
        assert ask("cat", model=name).model == "z-image-turbo"
    assert ask("cat", model="Free Model").model == "free"


def test_a_style_sets_the_prompt_in_and_adds_what_it_keeps_out() -> None:
    request = ask("a cat --style Sketch --no text", model="free")
    assert (request.prompt, request.typed) == ("sketch of a cat, pencil", "a cat")
    assert (request.negative, request.style) == ("text, colour", "sketch")


@pytest.mark.parametrize(
    ("model", "guidance", "negative", "notes"),
    [
        ("z-image-turbo", None, "", ("note.negative.ignored",)),
        ("demo", None, "", ("note.negative.needs_guidance",)),
        ("demo", "1", "", ("note.negative.needs_guidance",)),
        ("demo", "1.1", "text", ()),
        ("free", None, "text", ()),
    ],
)
def test_a_negative_prompt_that_does_nothing_is_said_so(
    model: str, guidance: str | None, negative: str, notes: tuple[str, ...]
) -> None:
    form = DrawForm("a cat --no text", model=model, guidance=guidance)
    request = check_form(form, (DEMO, TURBO, FREE), 4, random.Random(0))
    assert (request.negative, request.notes) == (negative, notes)


def test_nobody_is_told_about_a_styles_own_negative_prompt() -> None:
    request = ask("a cat --style sketch", model="z-image-turbo")
    assert (request.negative, request.notes) == ("", ())


def test_units_belong_to_their_values() -> None:
    request = ask("一只猫 --size 192x192像素 --count 4张 --steps 20步 --seed 7")
    assert (request.prompt, request.width, request.height) == ("一只猫", 192, 192)
    assert (request.count, request.steps, request.seed) == (4, 20, 7)
    # The page's fields and Discord's options are read by the same rules.
    request = ask("cat", size="192x192px", count="\u2060２ 张", steps="20steps", seed="7\u200f", guidance="\u200b2")
    assert (request.width, request.count, request.steps, request.seed, request.guidance) == (192, 2, 20, 7, 2)


def test_minus_one_is_a_random_seed() -> None:
    drawn = random.Random(0)
    assert ask("cat --seed -1").seed == ask("cat", seed="−1").seed == ask("cat").seed == new_seed(drawn)


def test_the_same_rng_draws_the_same_seed() -> None:
    assert ask("a cat").seed == ask("a dog").seed
    one = check_form(DrawForm("cat"), (DEMO,), 4, random.Random(1)).seed
    assert one != ask("a cat").seed


@given(
    st.builds(
        DrawForm,
        prompt=st.text(),
        size=st.none() | st.text(),
        seed=st.none() | st.text() | st.integers().map(str),
        count=st.none() | st.text() | st.integers(-5, 20).map(str),
        steps=st.none() | st.text() | st.integers(-5, 60).map(str),
        guidance=st.none() | st.text() | st.floats().map(str),
        negative=st.none() | st.text(),
        style=st.none() | st.text() | st.sampled_from(["ink", "sketch"]),
        model=st.none() | st.text() | st.sampled_from(["demo", "z-image-turbo"]),
        private=st.none() | st.booleans(),
    )
)
def test_any_form_is_in_range_or_refused(form: DrawForm) -> None:
    try:
        request = check_form(form, (DEMO, TURBO), 16, random.Random(0))
    except Refusal:
        return
    profile = {p.name: p for p in (DEMO, TURBO)}[request.model]
    assert 0 < len(request.typed) <= profile.prompt_chars
    for side in (request.width, request.height):
        assert side % profile.multiple == 0
        assert profile.side.low <= side <= profile.side.high
    assert profile.steps.low <= request.steps <= profile.steps.high
    assert profile.guidance.low <= request.guidance <= profile.guidance.high
    assert 0 <= request.seed < 2**63
    assert 1 <= request.count <= 16


def test_limits_count_both_ends() -> None:
    profile = replace(DEMO, steps=Range(5, 2, 9))
    for steps in ("2", "9"):
        assert check_form(DrawForm("cat", steps=steps), (profile,), 4, random.Random(0)).steps == int(steps)
    for steps in ("1", "10"):
        with pytest.raises(BadInput):
            check_form(DrawForm("cat", steps=steps), (profile,), 4, random.Random(0))


START = SourceImage("inputs/a.png", 300, 400)
MASKED = replace(START, mask="inputs/b.png")


def begin(prompt: str = "a cat", start: SourceImage = START, **profile: object) -> DrawRequest:
    made = replace(DEMO, **profile)  # type: ignore[arg-type]
    return check_form(DrawForm(prompt), (made,), 4, random.Random(0), source=start)


def test_a_start_has_its_own_ratio_and_the_usual_strength() -> None:
    request = begin(start=MASKED)
    assert (request.image, request.mask, request.strength) == ("inputs/a.png", "inputs/b.png", STRENGTH.default)
    assert (request.width, request.height) == DEMO.presets["portrait"]
    assert begin("a cat --size 128x64 --strength 0,25").strength == 0.25
    assert begin("a cat --size 128x64").width == 128


@pytest.mark.parametrize(
    ("white", "size", "refused"),
    [
        ((0, 0, 40, 400), "64x192", True),
        ((260, 0, 300, 400), "64x192", True),
        ((0, 0, 300, 60), "192x64", True),
        ((0, 0, 300, 60), "64x192", False),
        ((0, 0, 120, 400), "64x192", False),
        ((149, 199, 151, 201), "64x192", False),
        ((0, 0, 40, 10), "", False),
        (None, "64x192", False),
    ],
)
def test_a_mask_that_a_size_cuts_off_is_refused(
    white: tuple[int, int, int, int] | None, size: str, refused: bool
) -> None:
    prompt = f"a cat --size {size}" if size else "a cat"
    if refused:
        with pytest.raises(BadInput) as caught:
            begin(prompt, replace(MASKED, white=white))
        assert caught.value.key == "refusal.mask.cut_off"
    else:
        assert begin(prompt, replace(MASKED, white=white)).mask


def test_without_a_start_there_is_nothing_to_keep() -> None:
    request = ask("a cat")
    assert (request.image, request.mask, request.strength, request.variation, request.upscale) == ("", "", 1.0, 0, 0)


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("0.04", "refusal.strength.range"),
        ("1.01", "refusal.strength.range"),
        ("-1", "refusal.strength.range"),
        ("much", "refusal.strength.not_number"),
    ],
)
def test_a_strength_that_is_none(typed: str, key: str) -> None:
    with pytest.raises(BadInput) as refused:
        begin(f"a cat --strength {typed}")
    assert refused.value.key == key


def test_what_the_model_can_not_do_with_a_picture_is_said() -> None:
    with pytest.raises(BadInput) as refused:
        begin(can=frozenset({Capability.VARY}))
    assert refused.value.key == "refusal.image.model"
    with pytest.raises(BadInput) as refused:
        begin(start=MASKED, can=frozenset({Capability.IMAGE}))
    assert refused.value.key == "refusal.mask.model"
    assert begin(can=frozenset({Capability.IMAGE})).image


def test_a_model_that_redraws_parts_alone_takes_a_picture_with_a_mask() -> None:
    parts = frozenset({Capability.EDIT, Capability.MASK})
    assert begin(start=MASKED, can=parts).mask
    with pytest.raises(BadInput) as refused:
        begin(can=parts)
    assert refused.value.key == "refusal.image.model"


@pytest.mark.parametrize(
    ("negative", "style", "becomes"),
    [(None, None, "ugly"), ("hats", None, "hats"), ("", None, ""), (None, "sketch", "ugly, colour")],
)
def test_the_models_own_negative_prompt_is_taken_where_nobody_says_anything(
    negative: str | None, style: str | None, becomes: str
) -> None:
    own = replace(FREE, negative_default="ugly")
    form = DrawForm("a cat", negative=negative, style=style)
    assert check_form(form, (own,), 4, random.Random(0), STYLES).negative == becomes
    # Where it does nothing it is not pretended to.
    deaf = replace(own, negative=NegativePromptSupport.NEVER)
    assert check_form(DrawForm("a cat"), (deaf,), 4, random.Random(0)).negative == ""


def test_a_language_that_the_model_does_not_read_is_said() -> None:
    english = replace(DEMO, languages=("en",))
    form = DrawForm("一只猫 --no text")
    assert check_form(form, (english,), 4, random.Random(0)).notes == ("note.negative.needs_guidance", "note.language")
    assert ask("一只猫").notes == ()


BOTH = demo()
ENGLISH = replace(BOTH, languages=("en",))


@pytest.mark.parametrize(
    ("text", "english", "both"),
    [
        ("a red apple", True, True),
        ("ein Bär, déjà vu, π ≈ 3, ☕ “quoted” — 100 €", True, True),
        ("一只猫", False, True),
        ("a cat named 猫", False, True),
        ("ひらがな", False, False),
        ("カタカナ", False, False),
        ("고양이", False, False),
        ("красное яблоко", False, False),
        ("تفاحة", False, False),
        ("，。！：", True, True),
    ],
)
def test_the_script_tells(text: str, english: bool, both: bool) -> None:
    assert (reads_language(text, ENGLISH), reads_language(text, BOTH)) == (english, both)
