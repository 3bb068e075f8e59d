"""A picture's parameters as values for the form, and notes on what can't be applied."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.cards import i18n
from bot.core.pictures import FittedParameters, ReadParameters
from bot.core.requests import MAX_LORAS, MAX_SEED, DrawForm
from bot.drawing import flags
from bot.drawing.parameters import fit_parameters
from engine.contract import LoraInfo, LoraRequest, Range
from engine.families.z_image.spec import demo

SDXL = replace(
    demo(),
    name="sdxl",
    title="Stable Diffusion XL",
    source="stabilityai/sd_xl_base_1.0",
    family="sdxl",
    multiple=64,
    side=Range(1024, 512, 2048),
    steps=Range(30, 1, 100),
    guidance=Range(7.0, 1.0, 20.0),
    samplers=("Euler", "Euler a", "DPM++ 2M Karras"),
    clip_skip=1,
)
LORAS = (
    LoraInfo("ink", "Ink, drawn", family="sdxl", weight=0.8),
    LoraInfo("any", "Any"),
    LoraInfo("zi", "Z", family="z_image"),
)


def fitted(**read: object) -> FittedParameters:
    return fit_parameters(ReadParameters(tool="A1111", **read), (demo(), SDXL), LORAS, "en")  # type: ignore[arg-type]


def said(key: str, **params: str | int) -> str:
    return i18n.text("en", f"parameters.note.{key}", **params)


@pytest.mark.parametrize(
    "model", ["sdxl", "Stable Diffusion XL", "SD XL base 1.0", "folder/sd_xl_base_1.0.safetensors"]
)
def test_everything_that_fits_is_taken(model: str) -> None:
    found = fitted(
        prompt="a cat <lora:Ink:0.5>", negative="blurry", model=model, width=832, height=1216, steps=20, guidance=6.5,
        seed=MAX_SEED, sampler="dpmpp_2m Karras", clip_skip=2, loras=(("any", -1.0),),
    )  # fmt: skip
    assert (found.prompt, found.negative, found.model, found.size) == ("a cat", "blurry", "sdxl", (832, 1216))
    assert (found.steps, found.guidance, found.seed, found.sampler, found.clip_skip) == (
        20,
        6.5,
        MAX_SEED,
        "DPM++ 2M Karras",
        2,
    )
    assert found.loras == (LoraRequest("ink", 0.5), LoraRequest("any", -1.0))
    assert found.notes == ()


def test_what_belongs_to_a_model_that_is_not_here_is_left_out() -> None:
    found = fitted(prompt="a cat", model="Flux", width=200, height=100, steps=28, guidance=3.5, sampler="Euler", seed=7)
    assert (found.model, found.steps, found.guidance, found.sampler, found.seed) == ("demo", None, None, "", 7)
    assert found.size == (192, 96)
    assert found.notes == (
        said("model", model="Flux", own="Easel demo"),
        said("size", size="200x100", nearest="192x96"),
    )


@pytest.mark.parametrize(
    ("size", "nearest"),
    [
        ((512, 768), (336, 512)),
        ((2048, 1024), (512, 256)),
        ((32, 48), (64, 96)),
        ((8, 4000), (64, 512)),
        ((100_000, 1), (512, 64)),
    ],
)
def test_sizes_keep_their_ratio_where_it_fits(size: tuple[int, int], nearest: tuple[int, int]) -> None:
    assert fitted(width=size[0], height=size[1]).size == nearest


def test_values_out_of_range_are_fitted_with_a_note() -> None:
    found = fitted(prompt="a cat", model="sdxl", steps=150, guidance=0.5, seed=2**64 - 1, sampler="LMS")
    assert (found.steps, found.guidance, found.seed, found.sampler) == (100, 1.0, None, "")
    name = SDXL.title
    assert set(found.notes) == {
        said("steps", value="150", fitted="100", model=name),
        said("guidance", value="0.5", fitted="1", model=name),
        said("seed"),
        said("sampler", sampler="LMS", model=name, own="Euler"),
    }


def test_loras_that_are_missing_or_too_many() -> None:
    found = fitted(prompt="a <lora:gone:1> cat <lora:zi:1>", model="sdxl", loras=(("Ink drawn", 9.0),))
    assert (found.prompt, found.loras) == ("a cat", (LoraRequest("ink", 2.0),))
    assert found.notes == (said("lora", n=2, loras="gone, zi"),)
    many = tuple(LoraInfo(f"l{n}", f"L{n}") for n in range(MAX_LORAS + 1))
    read = ReadParameters(tool="ComfyUI", loras=tuple((one.name, 1.0) for one in many))
    found = fit_parameters(read, (demo(),), many, "en")
    assert [one.name for one in found.loras] == ["l0", "l1", "l2"]
    assert found.notes == (said("loras", count=MAX_LORAS + 1, most=MAX_LORAS),)


@pytest.mark.parametrize(
    ("read", "key", "params"),
    [
        ({"references": 2, "strength": 0.5}, "references", {"n": 2}),
        ({"controlled": True, "strength": 0.5}, "controlled", {}),
        ({"masked": True, "strength": 0.5}, "masked", {}),
        ({"strength": 0.5}, "start", {"strength": "0.5"}),
        ({"variation": True}, "variation", {}),
        ({"enlarged": True}, "enlarged", {}),
    ],
)
def test_what_no_file_has_is_told(read: dict[str, object], key: str, params: dict[str, str | int]) -> None:
    assert fitted(**read).notes == (said(key, **params),)


@pytest.mark.parametrize(
    "prompt", ["a cat --count 16", "a cat —private", "a cat --size", "a cat --nosuch 3", 'a cat --no "']
)
def test_no_word_of_the_prompt_becomes_a_flag(prompt: str) -> None:
    found = fitted(prompt=prompt)
    assert found.notes == (said("flags"),)
    assert flags.parse(DrawForm(found.prompt)) == DrawForm(found.prompt)


def test_notes_are_in_the_persons_language() -> None:
    read = ReadParameters(tool="A1111", enlarged=True)
    assert fit_parameters(read, (demo(),), (), "zh_CN").notes == (i18n.text("zh_CN", "parameters.note.enlarged"),)


@given(
    prompt=st.text()
    | st.lists(st.sampled_from(["--", "—", "seed", "no", " ", '"', "<lora:", ":1>", "<", "a"])).map("".join),
    numbers=st.tuples(*[st.none() | st.integers(-(2**65), 2**65)] * 4),
    guidance=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    name=st.text(max_size=8),
)
def test_hostile_parameters_never_fail(
    prompt: str, numbers: tuple[int | None, ...], guidance: float | None, name: str
) -> None:
    width, height, steps, seed = numbers
    found = fitted(
        prompt=prompt, negative=prompt, width=width, height=height, steps=steps, seed=seed, guidance=guidance, model=name,
        sampler=name, clip_skip=steps, loras=((name, 1.0),),
    )  # fmt: skip
    assert found.seed is None or 0 <= found.seed <= MAX_SEED
    assert found.prompt == flags.parse(DrawForm(found.prompt)).prompt
