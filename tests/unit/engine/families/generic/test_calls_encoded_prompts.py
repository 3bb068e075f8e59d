"""What decides an embedding is its key, and what can't be compared or handed out twice is encoded each time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from engine.families.family import PromptCache
from engine.families.generic.calls import digest, keep_encoded

RED, BLUE = (Pillow.new("RGB", (4, 4), colour) for colour in ("red", "blue"))


def pipe(encode: Callable[..., Any], cache: PromptCache, setting: str = "") -> Any:
    made = SimpleNamespace(encode_prompt=encode)
    keep_encoded(made, partial(cache.embed, "m"), "a cat", setting)
    return made


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a", "b"),
        (1, True),
        (1, 1.0),
        (None, "None"),
        ([1, [2]], [[1], 2]),
        ({"a": 1}, {"b": 1}),
        (RED, BLUE),
        (RED, RED.resize((2, 8))),
        ([RED, BLUE], [BLUE, RED]),
        (torch.zeros(2, 3), torch.zeros(3, 2)),
        (torch.zeros(4), torch.zeros(4, dtype=torch.bfloat16)),
        (np.zeros(3), np.ones(3)),
        (torch.float32, torch.float16),
    ],
)
def test_different_arguments_have_different_digests(one: object, other: object) -> None:
    assert digest(one) != digest(other)
    assert digest(one) == digest(one) != ""


def test_equal_content_is_equal_whatever_object_holds_it() -> None:
    assert digest([RED.copy(), torch.ones(2)]) == digest([RED.copy(), torch.ones(2)])
    assert digest("\ud800")


def test_what_has_no_content_has_no_digest() -> None:
    assert digest((1, torch.Generator())) == ""
    assert digest([object()]) == ""


def test_the_same_call_is_encoded_once_and_each_time_handed_out_anew() -> None:
    calls: list[tuple[object, ...]] = []

    def encode(prompt: str, image: object = None) -> tuple[torch.Tensor, None, list[torch.Tensor]]:
        calls.append((prompt, image))
        return torch.ones(2), None, [torch.zeros(3)]

    cache = PromptCache(2**20)
    for _ in range(3):
        found, nothing, more = pipe(encode, cache).encode_prompt("a cat", image=RED)
        assert (found.tolist(), nothing, more[0].tolist()) == ([1, 1], None, [0, 0, 0])
        found.add_(1)
    assert (len(calls), cache.encoded, cache.found) == (1, 1, 2)
    assert cache.nbytes == 5 * 4
    pipe(encode, cache).encode_prompt("a cat", image=BLUE)
    pipe(encode, cache).encode_prompt("a dog", image=RED)
    pipe(encode, cache, "guidance 2").encode_prompt("a cat", image=RED)
    assert len(calls) == 4


def test_what_can_not_be_kept_is_encoded_each_time() -> None:
    calls: list[object] = []

    def encode(result: object, prompt: object) -> object:
        calls.append(prompt)
        return result

    cache = PromptCache(2**20)
    for _ in range(2):
        found = pipe(partial(encode, SimpleNamespace(x=1)), cache).encode_prompt("a cat")
        assert found.x == 1
        pipe(partial(encode, (torch.ones(1),)), cache).encode_prompt(torch.Generator())
    assert len(calls) == 4
    assert cache.nbytes == 0


def test_an_error_of_the_encoder_is_not_kept() -> None:
    def encode(_: str) -> None:
        raise ValueError("no")

    cache = PromptCache(2**20)
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            pipe(encode, cache).encode_prompt("a cat")
    assert cache.encoded == 0


def test_a_pipeline_without_encode_prompt_is_left_as_it_is() -> None:
    bare = SimpleNamespace()
    keep_encoded(bare, partial(PromptCache(2**20).embed, "m"), "a cat", "")
    assert not hasattr(bare, "encode_prompt")
