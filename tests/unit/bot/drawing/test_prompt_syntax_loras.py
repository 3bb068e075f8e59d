"""LoRAs as people type them: tags leave the prompt, lists are read, and what is neither stays text."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bot.core.requests import DrawForm
from bot.drawing import flags
from bot.drawing.prompt_syntax import TypedLora, has_unread_tag, lora_key, parse_list, take_tags, write_item
from engine.contract import LoraRequest

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}[a-z0-9]", fullmatch=True)
WEIGHTS = st.integers(-200, 200).map(lambda number: number / 100)
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="<＜"), max_size=40)


@pytest.mark.parametrize(
    ("typed", "prompt", "loras"),
    [
        ("a cat <lora:pixel:0.8>", "a cat", [("pixel", "0.8")]),
        ("<lora:pixel:0.8> a cat", "a cat", [("pixel", "0.8")]),
        ("<lora:pixel:0.8>, a cat", "a cat", [("pixel", "0.8")]),
        ("a cat, <lora:pixel:0.8>, in a hat", "a cat, in a hat", [("pixel", "0.8")]),
        ("a cat, <lora:pixel:0.8>", "a cat", [("pixel", "0.8")]),
        ("a cat <lora:pixel:0.8> in a hat", "a cat in a hat", [("pixel", "0.8")]),
        ("a cat\n<lora:pixel:0.8>\nin a hat", "a cat\nin a hat", [("pixel", "0.8")]),
        ("一只猫<lora:水墨:0.8>在睡觉", "一只猫在睡觉", [("水墨", "0.8")]),
        ("一只猫，＜lora：水墨：0.8＞", "一只猫", [("水墨", "0.8")]),
        ("a <LoRA:Pixel Art v1.0:-1> cat <lyco:ink>", "a cat", [("Pixel Art v1.0", "-1"), ("ink", None)]),
        ("a cat <lora:pixel:.5><lora:ink:1,5>", "a cat", [("pixel", ".5"), ("ink", "1,5")]),
        ("a cat <lora: pixel : 0.8 >", "a cat", [("pixel", "0.8")]),
        ("a cat <lora:pixel:0.8:0.80>", "a cat", [("pixel", "0.8")]),
        ("a cat <lora:pixel:99>", "a cat", [("pixel", "99")]),
        ("a <lo<lora:ink:1>ra:pixel:1> cat", "a cat", [("ink", "1"), ("pixel", "1")]),
    ],
)
def test_tags_are_taken_out_of_the_prompt(typed: str, prompt: str, loras: list[tuple[str, str | None]]) -> None:
    assert take_tags(typed) == (prompt, tuple(TypedLora(*lora) for lora in loras))


@pytest.mark.parametrize(
    ("typed", "like_a_tag"),
    [
        ("a cat <lora:pixel:0.8", True),
        ("a cat <lora:pixel:much>", True),
        ("a cat <lora::0.8>", True),
        ("a cat <lora: :0.8>", True),
        ("a cat <lora>", False),
        ("a cat <lora:pixel:0.8:0.4>", True),
        ("a cat <lora:pixel:te=0.5:unet=1>", True),
        ("a cat <lora:pixel\n:0.8>", True),
        ("a cat <hypernet:pixel:0.8>", False),
        ("lora:pixel:0.8", False),
        ("a <b:c> (d:1.2) > e", False),
    ],
)
def test_anything_else_stays_text(typed: str, like_a_tag: bool) -> None:
    assert take_tags(typed) == (typed, ())
    assert has_unread_tag(typed) is like_a_tag


@given(st.text(st.sampled_from("<>＜＞:： ,-lorayc0.9猫\n"), max_size=60))
@example("<lora:<lora:a>b>")
@example("<lora:a:1:<lora:b>1>")
@example("<<lora:a>lora:b>,<lora:c>,")
def test_nothing_is_taken_from_what_is_left(typed: str) -> None:
    left, taken = take_tags(typed)
    assert take_tags(left) == (left, ())
    assert len(left) <= len(typed)
    if not taken:
        assert left == typed


@given(st.lists(st.tuples(WORDS, NAMES, WEIGHTS), max_size=5), WORDS)
def test_every_tag_is_found_with_its_weight_and_no_word_is_lost(parts: list[tuple[str, str, float]], end: str) -> None:
    typed = "".join(f"{words}<lora:{name}:{weight:g}>" for words, name, weight in parts) + end
    left, taken = take_tags(typed)
    assert taken == tuple(TypedLora(name, f"{weight:g}") for _, name, weight in parts)
    plain = "".join(words for words, _, _ in parts) + end
    assert [c for c in left if not c.isspace() and c not in ",，、"] == [
        c for c in plain if not c.isspace() and c not in ",，、"
    ]


@pytest.mark.parametrize(
    ("text", "loras"),
    [
        ("", []),
        (" , ", []),
        ("pixel", [("pixel", None)]),
        ("pixel:0.8", [("pixel", "0.8")]),
        ("pixel:0,8", [("pixel", "0,8")]),
        ("pixel:1,ink", [("pixel", "1"), ("ink", None)]),
        ("pixel:1,5,ink:-.5", [("pixel", "1,5"), ("ink", "-.5")]),
        ("pixel:1,2b:0.5", [("pixel", "1"), ("2b", "0.5")]),
        ("pixel : 0.8 , Pixel Art ; ink、oil:2", [("pixel", "0.8"), ("Pixel Art", None), ("ink", None), ("oil", "2")]),
        ("ｐｉｘｅｌ：０.８，ink", [("pixel", "0.8"), ("ink", None)]),
        ("pixel:", [("pixel", "")]),
        ("pixel:much", [("pixel", "much")]),
        ("pixel:1:2", [("pixel", "1:2")]),
    ],
)
def test_lists_are_read(text: str, loras: list[tuple[str, str | None]]) -> None:
    assert parse_list(text) == tuple(TypedLora(*lora) for lora in loras)


@given(st.text(max_size=60))
def test_any_text_is_a_list(text: str) -> None:
    assert all(lora.name for lora in parse_list(text))


@given(st.lists(st.tuples(NAMES, WEIGHTS), max_size=4))
def test_what_is_written_is_read(loras: list[tuple[str, float]]) -> None:
    written = ", ".join(write_item(LoraRequest(name, weight)) for name, weight in loras)
    assert [(lora.name, float(lora.weight or "nan")) for lora in parse_list(written)] == loras


def test_names_are_equal_without_case_width_gaps_and_suffix() -> None:
    for name in ("Pixel Art.safetensors", "pixel_art", "ＰＩＸＥＬ-art", " pixel  (art) "):
        assert lora_key(name) == "pixel-art"
    assert lora_key("v1.0") != lora_key("v10")


@pytest.mark.parametrize(
    ("prompt", "given", "lora"),
    [
        ("a cat --lora pixel:0.8", None, "pixel:0.8"),
        ("a cat --lora pixel:0.8 --loRA ink", None, "pixel:0.8, ink"),
        ('a cat --lora "Pixel Art:0.8" --lora=ink', None, "Pixel Art:0.8, ink"),
        ("a cat --lora pixel:-0.5", None, "pixel:-0.5"),
        ("a cat <lora:pixel:0.8>", None, "pixel:0.8"),
        ("a cat --no blur <lora:Pixel, Art:0.8> --lora ink", None, "Pixel  Art:0.8, ink"),
        # What is typed is added to the field, which comes last: its weight counts where both name a LoRA.
        ("a cat --lora pixel:0.8 <lora:pixel:0.5>", "ink, pixel:1", "pixel:0.5, pixel:0.8, ink, pixel:1"),
        ("a cat --lora pixel:0.8", "ink", "pixel:0.8, ink"),
        ("a cat <lora:pixel:0.8>", "ink", "pixel:0.8, ink"),
        ("a cat", "ink", "ink"),
        ("a cat", None, None),
    ],
)
def test_flags_and_tags_become_the_field(prompt: str, given: str | None, lora: str | None) -> None:
    parsed = flags.parse(DrawForm(prompt, lora=given))
    assert (parsed.prompt, parsed.lora) == ("a cat", lora)
    assert flags.parse(parsed) == parsed
