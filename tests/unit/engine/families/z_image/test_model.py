"""The demo model through its family, beside diffusers' own pipeline and in every kind of company."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ZImageImg2ImgPipeline, ZImagePipeline
from numpy.typing import NDArray
from PIL import Image as Pillow

from engine.contract import CannotWrite, Recipe
from engine.families.denoise_state import DenoiseState, InitImage
from engine.families.language_model import generate
from engine.families.z_image.model import ZImage
from engine.families.z_image.spec import demo

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
RED = Recipe("a", "demo", "a red apple on a blue background", "", 64, 64, 4, 0.0, 5)
GUIDED = replace(RED, prompt="a cat in space", negative="blue", guidance=3.0, seed=6, steps=6)


@pytest.fixture(scope="module")
def pipe() -> Any:
    made = ZImagePipeline.from_pretrained(demo().source, dtype=torch.float32)
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def model(pipe: Any) -> ZImage:
    return ZImage(pipe, CPU)


def begun(model: ZImage, recipe: Recipe, start: InitImage | None = None) -> DenoiseState:
    away = model.encode(recipe.negative) if model.guided(recipe.guidance) else None
    return model.begin(recipe, model.encode(recipe.prompt), away, start)


def pixels(found: NDArray[np.float32]) -> NDArray[np.int16]:
    return (found.clip(0, 1) * 255).round().astype(np.int16)


def drawn(model: ZImage, drawing: DenoiseState) -> NDArray[np.int16]:
    while not drawing.finished:
        model.step([drawing])
    return pixels(model.finish(drawing).numpy())


def test_its_text_encoder_writes_where_its_head_is_its_embeddings(
    model: ZImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CannotWrite):  # the demo's was trained without a head
        model.language_model()
    monkeypatch.setattr(model.pipe.text_encoder.config, "tie_word_embeddings", True)
    made = model.language_model()
    assert made.head is model.pipe.text_encoder.embed_tokens.weight
    assert len(list(generate(lambda: made, made.question("a cat"), most=3, temperature=0.0, seed=1))) == 3


@pytest.mark.parametrize("recipe", [RED, GUIDED, replace(RED, width=96, height=64, steps=1)])
def test_as_diffusers_draws_it(pipe: Any, model: ZImage, recipe: Recipe) -> None:
    theirs = pipe(
        recipe.prompt,
        negative_prompt=recipe.negative,
        width=recipe.width,
        height=recipe.height,
        num_inference_steps=recipe.steps,
        guidance_scale=recipe.guidance,
        generator=torch.Generator().manual_seed(recipe.seed),
        output_type="np",
    ).images[0]
    assert np.abs(drawn(model, begun(model, recipe)) - pixels(theirs)).max() <= 1


def test_alone_or_joining_later_or_set_aside_it_is_the_same_picture(model: ZImage) -> None:
    recipes = [RED, GUIDED, replace(RED, seed=7, steps=8)]
    alone = [drawn(model, begun(model, r)) for r in recipes]
    first, second, third = (begun(model, r) for r in recipes)
    model.step([first])
    model.step([second, first])
    model.step([third])  # the others are set aside
    while rest := [d for d in (third, first, second) if not d.finished]:
        model.step(rest)
    for drawing, expected in zip((first, second, third), alone, strict=True):
        assert np.abs(pixels(model.finish(drawing).numpy()) - expected).max() <= 1


def test_rows_of_different_lengths_run_apart_without_a_mask_to_the_same_pictures(
    model: ZImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt of one more than 32 tokens, guided away from a short one, beside another short one."""
    long = replace(GUIDED, prompt=" ".join(["a cat in space"] * 12), steps=2)
    recipes = [long, replace(RED, steps=2)]
    masks: list[bool] = []
    attention = torch.nn.functional.scaled_dot_product_attention

    def watched(*args: Any, **more: Any) -> Any:
        masks.append(more.get("attn_mask") is not None)
        return attention(*args, **more)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    found = {}
    for apart in (False, True):
        states = [begun(model, recipe) for recipe in recipes]
        assert model.lengths(states) == (1, 2)
        assert model.lengths(states[1:]) == (), "one call of one length"
        masks.clear()
        while not states[0].finished:
            model.step(states, apart=apart)
        assert any(masks) is not apart
        found[apart] = [pixels(model.finish(state).numpy()) for state in states]
    for together, apart_ in zip(*found.values(), strict=True):
        assert np.abs(together - apart_).max() <= 1


def test_set_aside_it_goes_on_to_the_same_bytes(model: ZImage) -> None:
    whole = drawn(model, begun(model, GUIDED))
    one, other = begun(model, GUIDED), begun(model, replace(RED, width=96))
    model.step([one])
    model.step([other])
    assert np.array_equal(drawn(model, one), whole)


def given(model: ZImage) -> NDArray[np.uint8]:
    return drawn(model, begun(model, replace(RED, seed=9, steps=6))).astype(np.uint8)


def test_a_picture_to_start_from_as_diffusers_takes_it(pipe: Any, model: ZImage) -> None:
    recipe = replace(RED, image="given", strength=0.6, steps=8)
    picture = given(model)
    drawing = begun(model, recipe, InitImage(picture))
    other = ZImageImg2ImgPipeline(**pipe.components)
    other.set_progress_bar_config(disable=True)
    theirs = other(
        recipe.prompt,
        image=Pillow.fromarray(picture),
        latents=drawing.latents,  # diffusers begins from a sample of what its VAE says, and Easel from the middle
        strength=recipe.strength,
        width=64,
        height=64,
        num_inference_steps=8,
        guidance_scale=0.0,
        generator=torch.Generator().manual_seed(recipe.seed),
        output_type="np",
    ).images[0]
    assert drawing.steps == 5
    assert np.abs(drawn(model, drawing) - pixels(theirs)).max() <= 1


def test_the_less_strength_the_nearer(model: ZImage) -> None:
    picture = given(model)
    apart = [
        np.abs(drawn(model, begun(model, replace(RED, steps=8, strength=s), InitImage(picture))) - picture).mean()
        for s in (0.15, 0.6, 1.0)
    ]
    assert apart[0] < apart[1] < apart[2]


def test_what_a_mask_keeps_is_kept_to_the_last_pixel(model: ZImage) -> None:
    picture = given(model)
    mask = np.zeros((64, 64), np.float32)
    mask[:, 32:] = 1
    found = drawn(model, begun(model, replace(GUIDED, strength=0.9), InitImage(picture, mask)))
    assert np.array_equal(found[:, :32], picture[:, :32])
    assert np.abs(found[:, 32:] - picture[:, 32:].astype(np.int16)).mean() > 5


def test_a_small_variation_is_near_and_a_large_one_is_not(model: ZImage) -> None:
    plain = drawn(model, begun(model, RED))
    near, far = (
        np.abs(drawn(model, begun(model, replace(RED, variation=v, variation_seed=99))) - plain).mean()
        for v in (0.05, 1.0)
    )
    assert 0 < near < far


def test_a_preview_shows_what_is_coming(model: ZImage) -> None:
    recipe = replace(RED, width=192, height=192, steps=8)
    drawing = begun(model, recipe)
    drawing.wants_preview = True
    for _ in range(4):
        model.step([drawing])
    early = model.preview(drawing)
    assert early.shape == (24, 24, 3)
    final = drawn(model, drawing)
    small = final.reshape(24, 8, 24, 8, 3).mean((1, 3))
    assert np.abs(early - small).mean() < 45
    assert np.corrcoef(early.flatten(), small.flatten())[0, 1] > 0.8


def test_a_prompt_is_read_without_its_padding_as_it_is_with_it(pipe: Any, model: ZImage) -> None:
    theirs, _ = pipe.encode_prompt("黄色背景上的火箭", do_classifier_free_guidance=False)
    torch.testing.assert_close(model.encode("黄色背景上的火箭").tensors[0], theirs[0], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("prompt", "cut"), [("", False), ("猫" * 2000, True), ("a " * 1000, True), ("\x00\n\t🦊", False)]
)
def test_any_text_is_a_prompt_and_what_is_too_long_is_cut(model: ZImage, prompt: str, cut: bool) -> None:
    embedding = model.encode(prompt)
    assert embedding.cut is cut
    assert 0 < embedding.tensors[0].shape[0] <= 512
    assert embedding.nbytes == embedding.tensors[0].nbytes
    drawing = model.begin(replace(RED, steps=1), embedding, None)
    model.step([drawing])
    assert torch.isfinite(drawing.latents).all()


def test_what_raises_changes_nothing(model: ZImage, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = drawn(model, begun(model, RED))
    drawing = begun(model, RED)
    model.step([drawing])

    def broken(*_: object, **__: object) -> Sequence[object]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(model.pipe.transformer, "forward", broken)
        with pytest.raises(torch.OutOfMemoryError):
            model.step([drawing])
    assert np.array_equal(drawn(model, drawing), whole)
