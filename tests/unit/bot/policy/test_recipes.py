"""Recipes: one for each picture, and what buttons make of a request."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bot.model.requests import DrawRequest
from bot.policy.recipes import MAX_SEED, batch_key, from_seed, recipes_of, reroll

REQUEST = DrawRequest(
    prompt="ink cat",
    typed="cat",
    negative="text",
    width=256,
    height=144,
    steps=8,
    guidance=2.0,
    seed=7,
    count=3,
    model="demo",
    style="ink",
)
SEEDS = st.integers(0, MAX_SEED) | st.integers(MAX_SEED - 20, MAX_SEED)


def test_each_picture_has_its_recipe_and_its_seed() -> None:
    recipes = recipes_of(12, REQUEST)
    assert [(r.id, r.seed) for r in recipes] == [("12:0", 7), ("12:1", 8), ("12:2", 9)]
    assert {(r.model, r.prompt, r.negative, r.width, r.height, r.steps, r.guidance) for r in recipes} == {
        ("demo", "ink cat", "text", 256, 144, 8, 2.0)
    }


@given(SEEDS, st.integers(1, 16))
def test_seeds_count_up_and_after_the_largest_comes_nought(seed: int, count: int) -> None:
    seeds = [r.seed for r in recipes_of(1, replace(REQUEST, seed=seed, count=count))]
    assert len(set(seeds)) == count
    assert all(0 <= s <= MAX_SEED for s in seeds)
    assert all(b == a + 1 or (a, b) == (MAX_SEED, 0) for a, b in pairwise(seeds))


@given(SEEDS, st.integers(1, 16), st.data())
def test_a_seed_button_begins_with_the_same_picture(seed: int, count: int, data: st.DataObject) -> None:
    request = replace(REQUEST, seed=seed, count=count)
    index = data.draw(st.integers(0, count - 1))
    again = from_seed(request, index)
    assert again.count == max(2, count)
    assert replace(recipes_of(2, again)[0], id="") == replace(recipes_of(1, request)[index], id="")


@given(st.integers(0, MAX_SEED), st.integers())
def test_a_reroll_changes_the_seed_alone(seed: int, luck: int) -> None:
    request = replace(REQUEST, seed=seed)
    rerolled = reroll(request, random.Random(luck))
    assert rerolled.seed != seed
    assert 0 <= rerolled.seed < 2**32
    assert replace(rerolled, seed=seed) == request


def test_a_reroll_never_repeats_the_seed_that_its_rng_would_draw() -> None:
    drawn = random.Random(3).randrange(2**32)
    assert reroll(replace(REQUEST, seed=drawn), random.Random(3)).seed != drawn


def test_what_may_differ_within_a_batch() -> None:
    key = batch_key(REQUEST)
    assert batch_key(replace(REQUEST, prompt="dog", typed="dog", negative="", seed=1, count=1, private=True)) == key
    for change in ({"width": 192}, {"height": 192}, {"steps": 9}, {"guidance": 0.0}, {"model": "other"}):
        assert batch_key(replace(REQUEST, **change)) != key
