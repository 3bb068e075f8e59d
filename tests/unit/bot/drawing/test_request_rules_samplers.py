"""Samplers, clip skip and prompt syntax of a request: what each model takes, and what it is told."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from bot.core.errors import BadInput
from bot.core.requests import DrawForm, DrawRequest
from bot.drawing.flags import prompt_line
from bot.drawing.request_rules import check_form
from bot.drawing.styles import BUILT_IN, Style
from engine.families.sd15.spec import sd15
from engine.families.sdxl.spec import sdxl, sdxl_turbo
from engine.families.z_image.spec import demo

SDXL, SD15, TURBO, DEMO = sdxl(), sd15(), sdxl_turbo(), demo()
OWN = replace(DEMO, name="own", title="Own", samplers=())
STYLES = {**BUILT_IN, "loud": Style("loud", "(({prompt})), BREAK loud", "(quiet:1.3)")}


def ask(prompt: str, **given: str) -> DrawRequest:
    form = DrawForm(prompt, **given)  # type: ignore[arg-type]  # texts alone
    return check_form(form, (SDXL, SD15, TURBO, DEMO, OWN), 4, random.Random(0), STYLES)


def refused(prompt: str, **given: str) -> tuple[str, dict[str, object]]:
    with pytest.raises(BadInput) as refusal:
        ask(prompt, **given)
    return refusal.value.key, dict(refusal.value.params)


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("DPM++ 2M Karras", "DPM++ 2M Karras"),
        ("dpm++ 2m karras", "DPM++ 2M Karras"),
        ("dpmpp_2m_karras", "DPM++ 2M Karras"),
        ("DPM++2M  Karras", "DPM++ 2M Karras"),
        ("ＤＰＭ++ 2M SDE", "DPM++ 2M SDE"),
        ("euler-a", "Euler a"),
        ("k_euler_ancestral", "Euler a"),
        ("unipc", "UniPC"),
        # SDXL's own.
        ("Euler", ""),
        ("", ""),
    ],
)
def test_a_sampler_is_found_however_it_is_written(typed: str, name: str) -> None:
    assert ask("a cat", sampler=typed).sampler == name


@pytest.mark.parametrize(
    ("typed", "prompt", "sampler"),
    [
        ('a cat --sampler "DPM++ 2M Karras"', "a cat", "DPM++ 2M Karras"),
        ("a cat --sampler DPM++ 2M SDE Karras --seed 7", "a cat", "DPM++ 2M SDE Karras"),
        ("--sampler DPM++ 2M Karras a cat", "a cat", "DPM++ 2M Karras"),
        ("a cat --sampler Euler a", "a cat", "Euler a"),
        ("a cat --sampler euler a --count 2", "a cat", "Euler a"),
        ("--sampler heun a cat", "a cat", "Heun"),
        ("a cat --sampler DPM2 a Karras, asleep", "a cat, asleep", "DPM2 a Karras"),
        ("a cat --sampler=DPM2 a Karras", "a cat", "DPM2 a Karras"),
        ("a cat --sampler ddim, asleep", "a cat, asleep", "DDIM"),
    ],
)
def test_a_flag_takes_the_words_of_a_name(typed: str, prompt: str, sampler: str) -> None:
    request = ask(typed)
    assert (request.typed, request.sampler) == (prompt, sampler)


def test_a_mistake_names_the_nearest_and_all_that_the_model_has() -> None:
    key, params = refused("a cat", sampler="DPM++ 2M Karas")
    assert (key, params["nearest"]) == ("refusal.sampler.unknown", "DPM++ 2M Karras")
    assert params["known"] == ", ".join(SDXL.samplers)
    key, params = refused("a cat", sampler="xyz", model="demo")
    assert (key, params["known"]) == ("refusal.sampler.none_near", "Euler, Heun, DPM++ 2M, DPM++ 2M SDE, UniPC")
    assert refused("a cat", sampler="DDIM", model="own") == ("refusal.sampler.fixed", {"model": "Own", "own": "Euler"})
    assert ask("a cat", sampler="Euler", model="own").sampler == ""


def test_a_models_own_sampler_is_no_choice() -> None:
    assert ask("a cat", sampler="Euler a", model="sdxl-turbo").sampler == ""
    assert ask("a cat", sampler="Euler", model="sdxl-turbo").sampler == "Euler"


@pytest.mark.parametrize(
    ("model", "typed", "skip"),
    [("sdxl", "1", 1), ("sdxl", "2", 0), ("sd15", "2", 2), ("sd15", "1", 0), ("sd15", "12", 12)],
)
def test_clip_skip_counts_as_in_a1111(model: str, typed: str, skip: int) -> None:
    assert ask("a cat", model=model, clip_skip=typed).clip_skip == skip
    assert ask(f"a cat --clip-skip {typed}", model=model).clip_skip == skip
    assert ask(f"a cat --clip_skip {typed}", model=model).clip_skip == skip


@pytest.mark.parametrize(
    ("model", "typed", "key"),
    [
        ("sdxl", "0", "refusal.clip_skip.range"),
        ("sdxl", "13", "refusal.clip_skip.range"),
        ("sdxl", "two", "refusal.clip_skip.not_number"),
        ("sdxl", "1.5", "refusal.clip_skip.not_number"),
        ("demo", "2", "refusal.clip_skip.model"),
    ],
)
def test_a_wrong_clip_skip_is_refused(model: str, typed: str, key: str) -> None:
    assert refused("a cat", model=model, clip_skip=typed)[0] == key


def test_syntax_reaches_the_models_that_read_it() -> None:
    request = ask("(red:1.4) ball BREAK ((cat))", negative="[dog]")
    assert (request.prompt, request.negative, request.notes) == ("(red:1.4) ball BREAK ((cat))", "[dog]", ())


def test_others_get_plain_language_and_a_note() -> None:
    request = ask("(red:1.4) ball BREAK ((cat))", model="demo", negative="(dog:1.2)", guidance="3")
    assert (request.prompt, request.negative) == ("red ball, cat", "dog")
    assert request.typed == "(red:1.4) ball BREAK ((cat))"
    assert request.notes == ("note.syntax",)
    assert ask("a cat (asleep)", model="demo").notes == ()


def test_the_syntax_of_a_style_is_taken_away_too() -> None:
    request = ask("cat", model="demo", style="loud", guidance="3")
    assert (request.prompt, request.negative, request.notes) == ("cat, loud", "quiet", ("note.syntax",))


def test_the_line_of_a_request_holds_its_sampler_and_clip_skip() -> None:
    request = ask('a (red:1.2) cat --sampler "DPM++ 2M SDE Karras" --clip-skip 1 --seed 7')
    line = prompt_line(request, SDXL, None, SDXL)
    assert line == 'a (red:1.2) cat --size 1024x1024 --seed 7 --sampler "DPM++ 2M SDE Karras" --clip-skip 1'
    assert ask(line) == request
