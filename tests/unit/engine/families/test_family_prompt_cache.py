from __future__ import annotations

from functools import partial

from engine.families.family import PromptCache
from tests.unit.engine.diffusion.toy import Toy

ONE = 4
"""Bytes of a toy's embedding."""


def test_the_last_ones_are_remembered_by_their_bytes() -> None:
    toy = Toy()
    prompts = PromptCache(most=2 * ONE)
    for prompt in ("a", "b", "a", "c", "a", "b"):
        prompts.embed("toy", toy.encode, prompt)
    assert toy.encoded == ["a", "b", "c", "b"]
    assert (prompts.encoded, prompts.found, prompts.nbytes) == (4, 2, 2 * ONE)
    assert prompts.embed("toy", toy.encode, "b") is prompts.embed("toy", toy.encode, "b")


def test_models_do_not_share_what_they_read() -> None:
    toy = Toy()
    prompts = PromptCache(2**20)
    prompts.embed("one", toy.encode, "a")
    prompts.embed("two", toy.encode, "a")
    assert toy.encoded == ["a", "a"]


def test_another_clip_skip_is_another_embedding() -> None:
    toy = Toy()
    prompts = PromptCache(2**20)
    for skip in (0, 2, 2, 0):
        prompts.embed("toy", partial(toy.encode, clip_skip=skip), "a", f"clip skip {skip}")
    assert toy.encoded == ["a", "a 2"]


def test_one_that_is_too_large_is_kept_until_the_next() -> None:
    toy = Toy()
    prompts = PromptCache(most=1)
    prompts.embed("toy", toy.encode, "a")
    prompts.embed("toy", toy.encode, "a")
    assert toy.encoded == ["a"]


def test_cleared_it_keeps_nothing() -> None:
    toy = Toy()
    prompts = PromptCache(2**20)
    prompts.embed("toy", toy.encode, "a")
    prompts.clear()
    assert prompts.nbytes == 0
    prompts.embed("toy", toy.encode, "a")
    assert toy.encoded == ["a", "a"]


def test_it_keeps_only_the_models_that_are_there() -> None:
    toy = Toy()
    prompts = PromptCache(2**20)
    for name in ("one bf16", "one bf16 lora", "two fp32"):
        prompts.embed(name, toy.encode, "a")
    prompts.keep({"two"})
    assert prompts.nbytes == ONE
    prompts.embed("two fp32", toy.encode, "a")
    prompts.embed("one bf16", toy.encode, "a")
    assert toy.encoded == ["a"] * 4
