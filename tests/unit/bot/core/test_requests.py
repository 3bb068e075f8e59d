"""Recipes: one for each picture, and what buttons make of a request."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bot.core.jobs import work_of
from bot.core.requests import (
    MAX_SEED,
    UPSCALE_STRENGTH,
    VARIATION,
    DrawRequest,
    batch_key,
    evaluations,
    from_seed,
    recipes_of,
    reroll,
    steps_of,
    upscale,
    upscaled,
    vary,
)
from engine.contract import Range, Recipe
from engine.families.z_image.spec import demo

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


@given(SEEDS, st.integers(1, 16), st.sampled_from([0.0, VARIATION]), st.data())
def test_a_seed_button_begins_with_the_same_picture(
    seed: int, count: int, variation: float, data: st.DataObject
) -> None:
    request = replace(REQUEST, seed=seed, count=count, variation=variation, variation_seed=seed if variation else 0)
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


def seeds(recipes: tuple[Recipe, ...]) -> list[tuple[int, float, int]]:
    return [(r.seed, r.variation, r.variation_seed) for r in recipes]


def test_names_of_files_become_paths_in_the_data_folder() -> None:
    request = replace(REQUEST, image="inputs/a.png", mask="inputs/b.png", strength=0.5)
    for recipe in recipes_of(1, request, Path("data")):
        assert (Path(recipe.image), Path(recipe.mask)) == (Path("data/inputs/a.png"), Path("data/inputs/b.png"))
        assert recipe.strength == 0.5
    assert {(r.image, r.mask, r.strength) for r in recipes_of(1, REQUEST, Path("data"))} == {("", "", 1.0)}


def test_references_become_paths_in_their_order_and_are_seen_beside_the_picture() -> None:
    request = replace(REQUEST, width=64, height=32, references=("inputs/b.png", "inputs/a.png"))
    for recipe in recipes_of(1, request, Path("data")):
        assert [Path(name) for name in recipe.references] == [Path("data/inputs/b.png"), Path("data/inputs/a.png")]
        assert recipe.seen_pixels == request.seen_pixels == 64 * 32 * 3
    assert upscale(request, 0, "pictures/a.png", (128, 64)).references == ()
    for same in (reroll(request, random.Random(0)), vary(request, 0, random.Random(0)), from_seed(request, 0)):
        assert same.references == request.references
    assert batch_key(request) != batch_key(replace(request, references=()))


@given(SEEDS, st.integers(1, 16), st.integers(), st.data())
def test_variations_share_the_pictures_seed_and_have_each_their_own_other(
    seed: int, count: int, luck: int, data: st.DataObject
) -> None:
    request = replace(REQUEST, seed=seed, count=count)
    index = data.draw(st.integers(0, count - 1))
    made = vary(request, index, random.Random(luck))
    found = seeds(recipes_of(2, made))
    assert len(found) == len(set(found)) == max(2, count)
    assert {(one, by) for one, by, _ in found} == {(recipes_of(1, request)[index].seed, VARIATION)}
    others = [other for _, _, other in found]
    assert others == [(others[0] + i) % (MAX_SEED + 1) for i in range(len(others))]


def test_a_variation_stays_one() -> None:
    made = vary(REQUEST, 1, random.Random(0))
    again = reroll(made, random.Random(1))
    assert (again.seed, again.variation) == (8, VARIATION)
    assert again.variation_seed != made.variation_seed
    # A variation of a variation is around the same seed, with fresh others.
    once_more = vary(made, 1, random.Random(2))
    assert (once_more.seed, once_more.variation) == (8, VARIATION)
    assert once_more.variation_seed != made.variation_seed


def test_an_enlarged_picture_starts_from_its_own_file() -> None:
    varied = replace(REQUEST, variation=0.25, variation_seed=3, mask="inputs/m.png", image="inputs/i.png", strength=0.6)
    for request, index, seed in ((REQUEST, 2, 9), (varied, 2, 7)):
        made = upscale(request, index, "pictures/a.png", (512, 288))
        assert (made.width, made.height, made.count, made.seed, made.upscale) == (512, 288, 1, seed, 2.0)
        assert (made.image, made.mask, made.strength) == ("pictures/a.png", "", UPSCALE_STRENGTH)
        assert (made.variation, made.variation_seed) == (0, 0)
        kept = ("prompt", "negative", "steps", "guidance", "model", "style", "private")
        assert all(getattr(made, name) == getattr(request, name) for name in kept)
    assert reroll(made, random.Random(0)).image == "pictures/a.png"


SIDES = st.integers(4, 32).map(lambda n: 16 * n)


@given(SIDES, SIDES)
def test_a_picture_grows_to_twice_its_sides_or_as_far_as_it_may(width: int, height: int) -> None:
    profile = demo()
    size = upscaled(width, height, profile)
    if max(width, height) == profile.side.high:
        assert size is None
        return
    if size is None:
        # So near to the limit, and so narrow, that the shorter side gains less than the grid's step.
        assert min(width, height) * profile.side.high / max(width, height) < min(width, height) + profile.multiple
        return
    assert all(new > old for new, old in zip(size, (width, height), strict=True))
    assert all(side % profile.multiple == 0 and side <= profile.side.high for side in size)
    if 2 * max(width, height) <= profile.side.high:
        assert size == (2 * width, 2 * height)
    # The ratio stays, but for what the grid takes.
    assert abs(size[0] / width - size[1] / height) < profile.multiple / min(width, height)


def test_the_limit_itself_is_reached() -> None:
    profile = replace(demo(), side=Range(192, 64, 416))
    assert upscaled(336, 336, profile) == (416, 416)


def test_a_start_skips_the_steps_that_led_to_it() -> None:
    begun = replace(REQUEST, image="inputs/a.png", strength=0.5)
    assert (steps_of(REQUEST), steps_of(begun), steps_of(replace(begun, strength=0.05))) == (8, 4, 1)
    assert batch_key(begun) != batch_key(REQUEST)


def test_samplers_of_the_second_order_run_the_denoiser_twice_in_each_step_but_the_last() -> None:
    heun = replace(REQUEST, sampler="Heun")
    assert (evaluations(REQUEST, 8), evaluations(heun, 8), evaluations(heun, 1)) == (8, 15, 1)
    assert work_of(heun) == 256 * 144 * 15
    assert work_of(replace(heun, image="inputs/a.png", strength=0.5)) == 256 * 144 * 7
    assert batch_key(heun) != batch_key(REQUEST)
