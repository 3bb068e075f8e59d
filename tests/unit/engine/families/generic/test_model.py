"""The contract of the generic family, for each of the small pipelines: its pictures are those of the plain call."""

from __future__ import annotations

import gc
import inspect
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.pipelines.longcat_image import pipeline_longcat_image_edit
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus
from numpy.typing import NDArray
from PIL import Image as Pillow

from engine.contract import BadRecipe, Capability, Recipe
from engine.diffusion.loader import Loader
from engine.families.denoise_state import Embedding, InitImage
from engine.families.family import EmbedPrompt, PromptCache
from engine.families.generic.model import CallState, Generic
from engine.folders import profile_of
from engine.spec import ModelSpec
from tests.fakes.small_pipelines import SMALL_PIPELINES, SmallPipeline
from tests.fakes.small_pipelines.plain import drawn_plainly

pytestmark = pytest.mark.slow

Picture = NDArray[np.float32]
Pixels = NDArray[np.uint8]

A = Recipe("a", "small", "a red cat", "", 64, 64, 2, 3.0, 5)


FEW_PIXELS = 256 * 256


def picture(seed: int = 0) -> Pixels:
    drawn = Pillow.effect_mandelbrot((64, 64), (-2, -1, 1, 1), 30).convert("RGB").rotate(90 * seed)
    return np.array(drawn, np.uint8)


def names() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("picture")}


def load(folder: Path) -> Generic:
    loader = Loader("cpu", "auto", "nowhere", "", lambda _, __: pytest.fail("a folder needs no download"))
    found = loader.load(ModelSpec(profile_of(folder)), "").family
    assert isinstance(found, Generic)
    return found


@pytest.fixture(scope="module", params=SMALL_PIPELINES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


FEW = ("Flux2KleinPipeline", "QwenImagePipeline", "LongCatImagePipeline")
"""One with packed latents of its own kind, one with guidance by two predictions, and one that is paused in its scheduler."""


@pytest.fixture(scope="module", autouse=True)
def _small_references() -> Iterator[None]:
    """Two pipelines scale references to a million pixels before they encode them; here to fewer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline_qwenimage_edit_plus, "VAE_IMAGE_SIZE", FEW_PIXELS)
        dimensions = pipeline_longcat_image_edit.calculate_dimensions
        patch.setattr(
            pipeline_longcat_image_edit, "calculate_dimensions", lambda _, ratio: dimensions(FEW_PIXELS, ratio)
        )
        yield


@pytest.fixture(scope="module")
def family(name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generic]:
    if SMALL_PIPELINES[name].package:
        pytest.importorskip(SMALL_PIPELINES[name].package)
    folder = tmp_path_factory.mktemp("small") / name
    SMALL_PIPELINES[name].build(folder, 0)
    found = load(folder)
    if name == "HiDreamImagePipeline":
        found.pipe.default_sample_size = 32  # latents of a million pixels otherwise, whatever size is asked for
    yield found
    found.close()


few = pytest.mark.parametrize("name", FEW, indirect=True, scope="module")


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert names() == set()


def no_cache(encode: Callable[[str], Embedding], prompt: str, _settings: str = "", /) -> Embedding:
    return encode(prompt)


def started(
    family: Generic, recipe: Recipe, references: Sequence[Pixels] | None = None, embed: EmbedPrompt = no_cache
) -> CallState:
    name = type(family.pipe).__name__
    given = [picture()] if references is None and SMALL_PIPELINES[name].needs_reference else references or []
    return family.start(recipe, embed, None, given)


def finished(family: Generic, state: CallState) -> Picture:
    while not state.finished:
        family.step([state])
    return family.finish(state).numpy()


def drawn(family: Generic, recipe: Recipe, references: Sequence[Pixels] | None = None) -> Picture:
    return finished(family, started(family, recipe, references))


def plain(pipe: Any, recipe: Recipe, small: SmallPipeline, references: Sequence[Pixels] | None = None) -> Picture:
    """Draw as somebody would who calls the pipeline."""
    if references is None:
        references = [picture()] if small.needs_reference else []
    return drawn_plainly(
        pipe,
        small,
        recipe.prompt,
        size=(recipe.width, recipe.height),
        steps=recipe.steps,
        seed=recipe.seed,
        guidance=recipe.guidance,
        negative=recipe.negative,
        references=[Pillow.fromarray(pixels) for pixels in references],
    )


def apart(a: Picture, b: Picture) -> float:
    return float(np.abs(a - b).max())


def test_the_picture_is_that_of_the_plain_call(family: Generic, name: str) -> None:
    state = started(family, A)
    counted, previews = [], [family.preview(state)]
    while not state.finished:
        family.step([state])
        counted.append((state.done, state.steps))
        previews.append(family.preview(state))
    assert state.finite()
    found = family.finish(state).numpy()
    assert found.std() > 0.05
    assert apart(found, plain(family.pipe, A, SMALL_PIPELINES[name])) == 0
    assert counted == [(1, 2), (2, 2)]
    # FLUX.2's latents have 128 channels, Sana's and ERNIE's 32; LongCat edits in the size of the reference.
    without = {"Flux2KleinPipeline", "ErnieImagePipeline", "SanaPipeline", "LongCatImageEditPipeline"}
    assert previews[0] is None
    assert (previews[-1] is None) == (name in without)
    if previews[-1] is not None:
        assert previews[-1].dtype == np.uint8
        assert previews[-1].ndim == 3
        assert previews[-1].std() > 0


def test_a_prompt_is_encoded_once_for_its_pictures_and_the_picture_is_the_same(family: Generic, name: str) -> None:
    cache, runs = PromptCache(2**20), [0]
    encoders = [
        part for key, part in family.pipe.components.items() if key.startswith("text_encoder") and part is not None
    ]
    hooks = [encoder.register_forward_hook(lambda *_: runs.__setitem__(0, runs[0] + 1)) for encoder in encoders]
    recipe = replace(A, prompt="the blue ball", negative="a dog", seed=8)
    try:
        first = finished(family, started(family, recipe, embed=partial(cache.embed, "small")))
        encoded, ran = cache.encoded, runs[0]
        assert encoded
        assert ran
        again = finished(family, started(family, recipe, embed=partial(cache.embed, "small")))
        assert (cache.encoded, runs[0]) == (encoded, ran), "nothing is encoded again"
        other = finished(family, started(family, replace(recipe, prompt="a dog"), embed=partial(cache.embed, "small")))
        assert cache.encoded > encoded
        most = family.references
        if most:
            # Another picture is another embedding only where the text encoder sees it; it is another picture always.
            turned = [picture(1)]
            edit = finished(family, started(family, recipe, turned, partial(cache.embed, "small")))
            assert apart(edit, plain(family.pipe, recipe, SMALL_PIPELINES[name], turned)) == 0
    finally:
        for hook in hooks:
            hook.remove()
    assert cache.nbytes
    assert apart(again, first) == 0
    assert apart(again, plain(family.pipe, recipe, SMALL_PIPELINES[name])) == 0
    assert apart(other, first) > 0


@few
def test_with_a_negative_prompt_too(family: Generic, name: str) -> None:
    recipe = replace(A, prompt="the blue ball", negative="a dog", seed=7, guidance=2.0)
    assert apart(drawn(family, recipe), plain(family.pipe, recipe, SMALL_PIPELINES[name])) == 0


@few
def test_steps_of_several_pictures_take_turns_and_one_is_cancelled(family: Generic) -> None:
    recipes = [
        replace(A, steps=3),
        replace(A, id="b", prompt="the blue dog", seed=6, steps=4),
        replace(A, id="c", seed=9, steps=3),
    ]
    alone = [drawn(family, recipe) for recipe in recipes[:2]]
    states = [started(family, recipe) for recipe in recipes]
    for state in states:
        family.step([state])
    family.step([states[2]])
    assert [state.done for state in states] == [1, 1, 2]
    assert names() == {"picture a", "picture b", "picture c"}
    states[2].close()
    assert names() == {"picture a", "picture b"}
    assert states[2].lost
    while left := [state for state in states[:2] if not state.finished]:
        for state in left:
            family.step([state])
    assert [apart(family.finish(state).numpy(), one) for state, one in zip(states[:2], alone, strict=True)] == [0, 0]


@few
def test_a_picture_that_was_cut_off_is_the_same_when_it_is_drawn_again(family: Generic) -> None:
    first = started(family, A)
    family.step([first])
    first.close()
    assert apart(drawn(family, A), drawn(family, A)) == 0


def test_references_decide_the_picture_as_in_the_plain_call(family: Generic, name: str) -> None:
    small = SMALL_PIPELINES[name]
    most = family.references
    if not most:
        with pytest.raises(BadRecipe, match=f"A {name} takes no reference pictures"):
            started(family, A, [picture()])
        return
    # Where it needs a reference, the test above has drawn with one.
    for count in (2,) if small.needs_reference else (1, 2)[:most]:
        if count > most:
            continue
        references = [picture(seed) for seed in range(count)]
        assert apart(drawn(family, A, references), plain(family.pipe, A, small, references)) == 0
    with pytest.raises(BadRecipe, match=f"at most {most} reference pictures, and there are {most + 1}"):
        started(family, A, [picture()] * (most + 1))
    if small.needs_reference:
        with pytest.raises(BadRecipe, match="give it at least one reference"):
            started(family, A, [])
    if name in FEW:
        # A mask limits what the edit changes.
        half = np.zeros((64, 64), np.float32)
        half[:, 32:] = 1
        init = InitImage(picture(9), half)
        masked = finished(family, family.start(replace(A, image="x", mask="y"), no_cache, init, references))
        assert apart(masked[:, 32:], drawn(family, A, references)[:, 32:]) == 0
        assert float(np.abs(masked[:, :32] - init.pixels[:, :32] / 255).max()) < 1e-6


@pytest.mark.parametrize("mask", [False, True])
def test_from_a_picture_it_is_the_siblings_plain_call(family: Generic, name: str, *, mask: bool) -> None:
    half = np.zeros((64, 64), np.float32)
    half[:, 32:] = 1
    init = InitImage(picture(), half if mask else None)
    recipe = replace(A, image="x", strength=0.7, steps=3)
    if (Capability.MASK if mask else Capability.IMAGE) not in family.can:
        with pytest.raises(BadRecipe, match=f"A {name} can't"):
            family.start(recipe, no_cache, init)
        return
    state = family.start(recipe, no_cache, init)
    found = finished(family, state)
    kind = "Inpaint" if mask else "Img2Img"
    other = getattr(diffusers, name.removesuffix("Pipeline") + kind + "Pipeline")
    needed = inspect.signature(other.__init__).parameters
    settings = {**family.pipe.config, **family.pipe.components}
    pipe = other(**{key: settings[key] for key in needed if key in settings})
    pipe.set_progress_bar_config(disable=True)
    small = SMALL_PIPELINES[name]
    more: dict[str, Any] = {"image": Pillow.fromarray(init.pixels), "strength": 0.7}
    if mask:
        more["mask_image"] = Pillow.fromarray((half * 255).astype(np.uint8))
    known = inspect.signature(pipe.__call__).parameters
    call = {key: value for key, value in {**more, **small.call}.items() if key in known}
    bare = plain(pipe, recipe, replace(small, call=call, needs_reference=False))
    if mask:
        assert apart(found[:, :32], init.pixels[:, :32].astype(np.float32) / np.float32(255)) < 1e-6
        found, bare = found[:, 32:], bare[:, 32:]
    assert apart(found, bare) == 0
    assert apart(found, drawn(family, A)[:, 32:] if mask else drawn(family, A)) > 0.01


@few
@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"variation": 0.2}, "can't draw slight variations"),
        ({"sampler": "Euler a"}, "can't be drawn with the sampler Euler a"),
        ({"clip_skip": 2}, "can't be drawn with clip skip"),
        ({"control": "canny"}, "can't be drawn with control pictures"),
    ],
)
def test_what_it_can_not_do_is_refused(family: Generic, more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadRecipe, match=sentence):
        started(family, replace(A, **more))


@few
def test_a_long_prompt_is_cut_and_that_is_said(family: Generic) -> None:
    short, long = started(family, A), started(family, replace(A, prompt="xyz " * 4000))
    assert (short.prompt_cut, long.prompt_cut) == (False, True)
    short.close()
    long.close()


@few
def test_an_exception_in_the_call_is_raised_by_the_step_that_meets_it(
    family: Generic, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = [started(family, A), started(family, replace(A, id="b"))]
    for state in states:
        family.step([state])

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no more")

    with monkeypatch.context() as patch:
        patch.setattr(family.denoiser, "forward", broken)
        with pytest.raises(RuntimeError, match="no more"):
            family.step([states[0]])
    assert names() == {"picture b"}
    assert apart(finished(family, states[1]), drawn(family, A)) == 0
    states[0].close()


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flux") / "m"
    SMALL_PIPELINES["FluxPipeline"].build(folder, 0)
    return folder


def test_unloaded_in_mid_draw_it_leaves_no_thread_and_no_part(flux: Path) -> None:
    family = load(flux)
    states = [started(family, replace(A, id=name)) for name in "abc"]
    family.step([states[0]])
    family.step([states[1]])
    family.close()
    assert names() == set()
    assert [state.lost for state in states] == [True, True, True]
    assert family.pipe is None


def test_a_picture_that_was_dropped_is_forgotten(flux: Path) -> None:
    family = load(flux)
    for steps in (0, 1):
        state = started(family, A)
        for _ in range(steps):
            family.step([state])
        kept = weakref.ref(state)
        state.close()
        del state
        gc.collect()
        assert kept() is None, f"after {steps} steps"
    family.close()


def test_numbers_that_are_not_finite_are_noticed(flux: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = load(flux)
    forward = family.denoiser.forward
    monkeypatch.setattr(family.denoiser, "forward", lambda *a, **k: (forward(*a, **k)[0] * float("nan"),))
    state = started(family, replace(A, steps=1))
    family.step([state])
    assert not state.finite()
    state.close()
    family.close()


def test_the_pipeline_itself_is_left_as_it_is(flux: Path) -> None:
    family = load(flux)
    before = {name: id(value) for name, value in vars(family.pipe).items()}
    times = family.pipe.scheduler.timesteps.clone()
    drawn(family, A)
    assert {name: id(value) for name, value in vars(family.pipe).items()} == before
    assert torch.equal(family.pipe.scheduler.timesteps, times)
    family.close()
