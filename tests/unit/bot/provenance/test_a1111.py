"""The parameters text, read back by readers that behave like A1111 and like Civitai."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.drawing.prompt_syntax import take_tags
from bot.provenance.a1111 import MAX_CHARS, easel_version, parameters, parse
from engine.contract import LoraRequest, Recipe
from tests.fakes.hostile_prompts import FRAGMENTS, said_of, squeezed
from tests.unit.bot.provenance.readers import as_a1111, as_civitai

RECIPE = Recipe(
    id="1:0", model="demo", prompt="a red apple", negative="", width=192, height=192, steps=8, guidance=0.0, seed=7
)


def test_hashes_of_loras_as_a1111_writes_them() -> None:
    assert "Lora hashes" not in parameters(RECIPE, "m")
    text = parameters(RECIPE, "m", lora_hashes=[("ink", "0123456789ab"), ("oil", "abcdef012345")])
    assert ', Lora hashes: "ink: 0123456789ab, oil: abcdef012345", ' in text


def test_the_text_is_as_the_family_writes_it() -> None:
    assert parameters(RECIPE, "Easel demo") == (
        "a red apple\n"
        "Steps: 8, Sampler: Euler, CFG scale: 1, Guidance scale: 0, Seed: 7, Size: 192x192, Model: Easel demo,"
        f" Version: Easel {easel_version()}"
    )


def test_no_guidance_is_a_scale_of_one_for_others_and_zero_for_easel() -> None:
    read = parse(parameters(RECIPE, "Easel demo"))
    assert read is not None
    assert (read.guidance, read.settings["CFG scale"]) == (0.0, "1")
    one = parse(parameters(replace(RECIPE, guidance=1.0), "Easel demo"))
    assert one is not None
    assert one.guidance == 1.0


def test_control_characters_and_lone_surrogates_are_left_out() -> None:
    assert parameters(replace(RECIPE, prompt="a\0 \x1bcat\ud800\x85"), "m").split("\n")[0] == "a cat"
    # Readers of UTF-16 would take the first one for its byte order, and some readers drop the others.
    assert parameters(replace(RECIPE, prompt="\ufffea c\uffff\ufeffat"), "m").split("\n")[0] == "a cat"


def test_a_negative_prompt_has_its_own_line() -> None:
    recipe = replace(RECIPE, negative="text, frames", guidance=4.5)
    lines = parameters(recipe, "Easel demo", style="ink").split("\n")
    assert lines[1] == "Negative prompt: text, frames"
    assert "CFG scale: 4.5," in lines[2]
    assert "Style: ink," in lines[2]


def test_loras_stand_behind_the_prompt_as_people_type_them() -> None:
    recipe = replace(RECIPE, negative="text", loras=(LoraRequest("ink", 0.75), LoraRequest("oil", -1.0)))
    text = parameters(recipe, "Easel demo")
    assert text.split("\n")[0] == "a red apple <lora:ink:0.75> <lora:oil:-1>"
    prompt, loras = take_tags(as_a1111(text).prompt)
    assert (prompt, [lora.name for lora in loras]) == ("a red apple", ["ink", "oil"])


# Any text, lone surrogates and control characters too, and texts of parts that readers could misread.
PROMPTS = (st.text() | st.lists(st.sampled_from(FRAGMENTS)).map("".join)).filter(said_of)
NEGATIVES = st.just("") | PROMPTS


@given(
    prompt=PROMPTS,
    negative=NEGATIVES,
    seed=st.integers(0, 2**63 - 1),
    model=st.sampled_from(["Easel demo", "Z-Image-Turbo", 'my "best", really: model', "模型", '"quoted"']),
)
def test_a1111_reads_back_what_was_drawn(prompt: str, negative: str, seed: int, model: str) -> None:
    recipe = replace(RECIPE, prompt=prompt, negative=negative, seed=seed, guidance=2.5)
    read = as_a1111(parameters(recipe, model))
    # Lines are stripped by the reader, and a line that would be misread is joined to the one before. A space without
    # a break counts as one.
    assert squeezed(read.prompt) == said_of(prompt)
    assert squeezed(read.negative) == said_of(negative)
    assert read.settings["Seed"] == str(seed)
    assert read.settings["Model"] == model
    assert (read.settings["Steps"], read.settings["Size"], read.settings["CFG scale"]) == ("8", "192x192", "2.5")


@given(
    prompt=PROMPTS,
    negative=NEGATIVES,
)
def test_civitai_reads_back_what_was_drawn(prompt: str, negative: str) -> None:
    read = as_civitai(parameters(replace(RECIPE, prompt=prompt, negative=negative), "Easel demo"))
    assert squeezed(read.prompt) == said_of(prompt)
    assert squeezed(read.negative) == said_of(negative)
    assert read.settings["Steps"] == "8"
    assert read.settings["Seed"] == "7"
    assert read.settings["Model"] == "Easel demo"


@pytest.mark.parametrize(
    "line", ["Negative prompt: none", "Steps: 99, Sampler: X, Seed: 1", "Template: none", "Negative Template: none"]
)
def test_a_line_of_the_prompt_is_not_taken_for_another_part(line: str) -> None:
    read = as_a1111(parameters(replace(RECIPE, prompt=f"a cat\n {line}\nin a hat"), "Easel demo"))
    assert (read.prompt.replace("\u00a0", " "), read.negative) == (f"a cat {line}\nin a hat", "")
    assert read.settings["Steps"] == "8"


@pytest.mark.parametrize(
    "begin",
    [
        "Negative prompt: none",
        "Steps: 99, Sampler: X, Seed: 1",
        "Steps: 3",
        "Negative prompt:",
        "Template: none",
        "Negative Template: none",
    ],
)
@pytest.mark.parametrize("rest", ["", "\nin a hat", "\nNegative prompt: red\nSteps: 4"])
def test_a_prompt_may_begin_like_another_part(begin: str, rest: str) -> None:
    for prompt, negative in ((begin + rest, "text"), ("a cat", begin + rest), (begin + rest, begin)):
        written = parameters(replace(RECIPE, prompt=prompt, negative=negative, guidance=2.5), "Easel demo")
        for reader in (as_a1111, as_civitai):
            read = reader(written)
            assert (squeezed(read.prompt), squeezed(read.negative)) == (said_of(prompt), said_of(negative)), reader
            assert (read.settings["Steps"], read.settings["Seed"]) == ("8", "7")
        # A reader that looks for line breaks before the parts finds each once.
        assert written.count("\nSteps:") == written.count("\nNegative prompt:") == 1


def settings(text: str) -> list[str]:
    return text.rsplit("\n", maxsplit=1)[-1].split(", ")


def test_a_variation_and_a_start_are_said_as_a1111_says_them() -> None:
    varied = replace(RECIPE, variation=0.25, variation_seed=9)
    assert {"Variation seed: 9", "Variation seed strength: 0.25"} <= set(settings(parameters(varied, "m")))
    begun = replace(RECIPE, image="a.png", strength=0.6)
    assert "Denoising strength: 0.6" in settings(parameters(begun, "m"))
    assert "Mask: yes" in settings(parameters(replace(begun, mask="b.png"), "m"))


def test_references_are_counted_and_not_named() -> None:
    text = parameters(replace(RECIPE, references=("data/inputs/a.png", "data/inputs/b.png")), "m")
    assert "References: 2" in settings(text)
    assert "inputs" not in text
    assert "References" not in parameters(RECIPE, "m")


def test_an_enlarged_picture_is_a_hires_fix_of_the_small_one() -> None:
    large = replace(RECIPE, image="a.png", strength=0.35, width=384, height=256)
    said = settings(parameters(large, "m", upscale=2.0))
    assert {"Size: 192x128", "Hires upscale: 2", "Denoising strength: 0.35"} <= set(said)


def test_how_it_was_really_drawn_is_said() -> None:
    said = settings(parameters(RECIPE, "m", precision="bf16", revision="0123456789abcdef", sampler="DPM++ 2M Karras"))
    assert not [one for one in said if one.startswith("Model hash")], "a folder has none"
    assert "Model hash: 31e35c80fc" in settings(parameters(RECIPE, "m", checkpoint="31e35c80fc"))
    assert {"Precision: bf16", "Model revision: 0123456789", "Sampler: DPM++ 2M Karras"} <= set(said)


def test_the_recipes_sampler_and_clip_skip_are_said() -> None:
    said = settings(parameters(replace(RECIPE, sampler="DPM2 a", clip_skip=2), "m", sampler="Euler"))
    assert {"Sampler: DPM2 a", "Clip skip: 2"} <= set(said)
    assert not any(one.startswith("Clip skip") for one in settings(parameters(RECIPE, "m")))


def test_a_mask_that_was_zoomed_into_is_said_as_in_a1111() -> None:
    masked = replace(RECIPE, image="a.png", mask="m.png")
    assert "Inpaint area: Only masked" in settings(parameters(masked, "m", notes=("mask_zoomed",)))
    assert "Inpaint area" not in parameters(masked, "m")


@given(
    prompt=PROMPTS,
    negative=NEGATIVES,
    seed=st.integers(0, 2**63 - 1),
    model=st.sampled_from(["Easel demo", 'my "best", really: model', "模型", '"quoted"']),
)
def test_what_is_written_is_read_back(prompt: str, negative: str, seed: int, model: str) -> None:
    recipe = replace(RECIPE, prompt=prompt, negative=negative, seed=seed, guidance=2.5)
    read = parse(parameters(recipe, model, style="ink"))
    assert read is not None
    assert squeezed(read.prompt) == said_of(prompt)
    assert squeezed(read.negative) == said_of(negative)
    assert (read.tool, read.seed, read.model, read.style) == ("Easel", seed, model, "ink")
    assert (read.steps, read.guidance, read.width, read.height) == (8, 2.5, 192, 192)


def test_a_text_of_a1111() -> None:
    read = parse(
        "masterpiece, (a cat:1.2) <lora:ink:0.8>\nsitting,  Steps: none\n"
        "Negative prompt: blurry\nlow quality\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 3422233, Size: 512x768, "
        "Model hash: 879db523c3, Model: dreamshaper_8, Denoising strength: 0.4, Clip skip: 2, Hires upscale: 2, "
        'Lora hashes: "ink: 0123456789ab", TI hashes: "easy, negative: 12", Version: v1.9.4\n'
        "Template: a cat\nNegative Template: blurry"
    )
    assert read is not None
    assert read.prompt == "masterpiece, (a cat:1.2) <lora:ink:0.8>\nsitting,  Steps: none"
    assert read.negative == "blurry\nlow quality"
    assert (read.tool, read.sampler, read.steps, read.guidance) == ("A1111", "DPM++ 2M Karras", 20, 7.0)
    assert (read.seed, read.width, read.height, read.model) == (3422233, 512, 768, "dreamshaper_8")
    assert (read.clip_skip, read.strength, read.enlarged, read.style) == (2, None, True, "")
    assert read.settings["TI hashes"] == "easy, negative: 12"


def test_a_text_of_civitai() -> None:
    read = parse(
        "a cat\nNegative prompt: blurry\nSteps: 25, CFG scale: 3.5, Sampler: Euler a, Seed: 7, Size: 832x1216, "
        'Created Date: 2024-09-29T15:12:05.81Z, Hashes: {"model": "ab", "lora:ink": "cd"}, Clip skip: 2, '
        'Civitai resources: [{"type":"checkpoint","modelVersionId":1,"modelName":"FLUX, the \\"best\\" ]","modelVersionName":"Dev"},'
        '{"type":"lora","weight":0.6,"modelVersionId":2,"modelName":"Ink"}], Civitai metadata: {}'
    )
    assert read is not None
    assert (read.model, read.loras, read.clip_skip) == ('FLUX, the "best" ]', (("Ink", 0.6),), 2)
    assert read.settings["Hashes"] == '{"model": "ab", "lora:ink": "cd"}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "a cat",
        "a cat\nNegative prompt: a dog",
        "Steps: 20",
        "Steps: 20, a cat",
        "a: 1",
        "{}",
        "x" * (MAX_CHARS + 1),
    ],
)
def test_other_texts_are_none(text: str) -> None:
    assert parse(text) is None


SETTINGS = st.lists(
    st.sampled_from(
        ["Steps: 20", "Seed:", "Size: 1x", "CFG scale: nan", "Model: ", '"', "\\", "[", "]", "{", "}", ", ", ": ", "a", "\n",
         "Civitai resources: ", '[{"type":"lora","modelName":1}]', "Easel 1", "Version: ", "\u0663", "9" * 40, "-"]
    ),
    max_size=40,
).map("".join)  # fmt: skip


@given(SETTINGS | st.text(max_size=200))
def test_hostile_texts_never_fail(text: str) -> None:
    for whole in (text, f"a cat\nSteps: 1, Seed: 2, Size: 3x4, {text}"):
        parse(whole)


@pytest.mark.parametrize("part", ["a:[,", 'a:"', "a" * 60, " ", 'a:{"', "Steps: a:[, b:[, c:[\n", "Negative prompt:\n"])
def test_long_texts_are_read_in_linear_time(part: str) -> None:
    # Quadratic time would be hours.
    parse("Steps: 1, b: 2, c: 3, " + part * (MAX_CHARS // len(part) - 10))
