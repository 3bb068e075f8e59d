"""Each row comes to its own end, whatever happens to the others."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow

from engine.contract import (
    MASK_ZOOMED,
    PROMPT_CUT,
    SAFER,
    BadImage,
    BadRecipe,
    EngineError,
    Image,
    Lane,
    OutOfMemory,
    Overflow,
    Recipe,
    UnknownModel,
)
from engine.diffusion.executor import FIRST_CAP, FIRST_PAUSE, StepExecutor
from engine.diffusion.fingerprint import with_extras
from engine.diffusion.image_encoder import ImageEncoder
from engine.diffusion.request_state import RequestState
from engine.diffusion.step_tuning import MIN_SAMPLES
from engine.families.denoise_state import DenoiseState, InitImage
from engine.families.family import EmbedPrompt
from tests.fakes.clock import FakeClock
from tests.unit.engine.diffusion.toy import TOY, Ends, OneModel, Toy

Recipes = Callable[..., None]


@contextmanager
def painting(models: OneModel, ends: Ends, clock: FakeClock | None = None) -> Iterator[StepExecutor]:
    encoder = ImageEncoder()
    try:
        yield StepExecutor(models, ends, encoder, torch.device("cpu"), clock=(clock or FakeClock()).now)
    finally:
        encoder.close()


def paint(models: OneModel | Toy, ends: Ends, *recipes: object) -> None:
    one = OneModel({"fp32": models}) if isinstance(models, Toy) else models
    with painting(one, ends) as executor:
        executor.add(RequestState(n, r) for n, r in enumerate(recipes, 1))  # type: ignore[arg-type]
        while len(executor):
            executor.step()


@pytest.fixture
def toy() -> Toy:
    return Toy()


@pytest.fixture
def ends() -> Ends:
    return Ends()


def image(end: Image | EngineError) -> Image:
    assert isinstance(end, Image), end
    return end


def value(end: Image | EngineError) -> int:
    found = Pillow.open(io.BytesIO(image(end).data)).getpixel((4, 4))
    assert isinstance(found, tuple)
    return int(found[0])


def failure(end: Image | EngineError) -> EngineError:
    assert isinstance(end, EngineError)
    return end


def test_each_row_by_its_own_seed_and_encoded_beside_the_drawing(toy: Toy, ends: Ends) -> None:
    paint(toy, ends, TOY, replace(TOY, seed=2), replace(TOY, seed=3))
    assert {t: value(e) for t, e in ends.ends.items()} == {1: 1, 2: 2, 3: 3}
    assert ends.steps == [((1, n, 3), (2, n, 3), (3, n, 3)) for n in (1, 2, 3)]
    assert all(name.startswith("encode") for name in ends.threads)
    assert image(ends.ends[1]).revision == "revision of toy"
    assert image(ends.ends[1]).checkpoint == "hash of toy"
    assert image(ends.ends[1]).precision == "fp32"


def test_a_row_joins_at_any_step_and_each_goes_its_own_number_of_them(toy: Toy, ends: Ends) -> None:
    with painting(OneModel({"fp32": toy}), ends) as executor:
        executor.add([RequestState(1, replace(TOY, steps=4))])
        executor.step()
        executor.add([RequestState(2, replace(TOY, seed=2, steps=3))])
        while len(executor):
            executor.step()
    assert ends.steps == [((1, 1, 4),), ((1, 2, 4), (2, 1, 3)), ((1, 3, 4), (2, 2, 3)), ((1, 4, 4), (2, 3, 3))]


def test_a_short_one_does_not_wait_for_a_long_one_to_end(toy: Toy, ends: Ends) -> None:
    with painting(OneModel({"fp32": toy}), ends) as executor:
        executor.add([RequestState(1, replace(TOY, steps=50))])
        executor.step()
        executor.add([RequestState(2, replace(TOY, seed=2, steps=2, width=16))])
        while len(executor):
            executor.step()
    assert ends.steps[:4] == [((1, 1, 50),), ((2, 1, 2),), ((2, 2, 2),), ((1, 2, 50),)]


def test_urgent_work_sets_bulk_work_aside(toy: Toy, ends: Ends) -> None:
    with painting(OneModel({"fp32": toy}), ends) as executor:
        executor.add([RequestState(1, TOY, Lane.BULK)])
        executor.step()
        executor.add([RequestState(2, replace(TOY, seed=2))])
        while len(executor):
            executor.step()
    assert [s[0][0] for s in ends.steps] == [1, 2, 2, 2, 1, 1]


def test_nobody_waits_and_nothing_is_drawn(toy: Toy, ends: Ends) -> None:
    ends.dropped = {1, 2}
    paint(toy, ends, TOY, TOY)
    assert toy.batches == []


def test_dropped_after_a_step_it_is_in_no_later_one(toy: Toy, ends: Ends) -> None:
    toy.on_step = lambda _, step: ends.dropped.add(2) if step == 2 else None
    paint(toy, ends, TOY, replace(TOY, seed=2))
    assert toy.batches == [[1, 2], [1, 2], [1]]
    assert set(ends.ends) == {1}


def test_a_prompt_that_raises_fails_alone(toy: Toy, ends: Ends) -> None:
    def refuse(prompt: str) -> None:
        if prompt == "bad":
            raise KeyError("no such token\nand more lines")

    toy.on_encode = refuse
    paint(toy, ends, TOY, replace(TOY, prompt="bad"), replace(TOY, seed=3))
    error = failure(ends.ends[2])
    assert isinstance(error, BadRecipe)
    assert "KeyError" in str(error)
    assert (value(ends.ends[1]), value(ends.ends[3])) == (1, 3)


def test_a_row_that_raises_while_it_is_drawn_takes_nobody_with_it(toy: Toy, ends: Ends) -> None:
    def crash(seeds: list[int], step: int) -> None:
        if step == 2 and 2 in seeds:
            raise RuntimeError("shapes do not fit")

    toy.on_step = crash
    paint(toy, ends, TOY, replace(TOY, seed=2), replace(TOY, seed=3))
    assert toy.batches[:3] == [[1, 2, 3], [1, 2, 3], [1]]
    assert isinstance(failure(ends.ends[2]), BadRecipe)
    assert (value(ends.ends[1]), value(ends.ends[3])) == (1, 3)


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("alloc_cpu: can't allocate memory")],
)
def test_what_does_not_fit_together_is_halved_and_what_does_not_fit_alone_fails(
    toy: Toy, ends: Ends, error: Exception
) -> None:
    def small(seeds: list[int], _: int) -> None:
        if len(seeds) > 2 or seeds == [9]:
            raise error

    toy.on_step = small
    paint(toy, ends, *(replace(TOY, seed=n) for n in (1, 2, 3, 4)), replace(TOY, seed=9, width=16))
    assert [len(b) for b in toy.batches[:2]] == [4, 2]
    assert [value(ends.ends[n]) for n in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert isinstance(failure(ends.ends[5]), OutOfMemory)


def test_no_more_share_a_step_than_fit(toy: Toy, ends: Ends) -> None:
    paint(OneModel({"fp32": toy}, fits=2), ends, *(replace(TOY, seed=n) for n in (1, 2, 3)))
    assert max(len(b) for b in toy.batches) == 2
    assert set(ends.ends) == {1, 2, 3}


def test_decoded_in_tiles_when_memory_is_short(toy: Toy, ends: Ends) -> None:
    def once(_: int) -> None:
        if not toy.tiled:
            raise torch.OutOfMemoryError("CUDA out of memory")

    toy.on_finish = once
    paint(toy, ends, TOY)
    assert value(ends.ends[1]) == 1


def test_loaded_anew_it_is_decoded_in_tiles_anew(toy: Toy, ends: Ends) -> None:
    again = Toy()
    for one in (toy, again):
        one.on_finish = partial(_only_in_tiles, one)
    models = OneModel({"fp32": toy})
    with painting(models, ends) as executor:
        for n, family in enumerate((toy, again), 1):
            models.toys["fp32"] = family
            executor.add([RequestState(n, TOY)])
            while len(executor):
                executor.step()
    assert [value(ends.ends[n]) for n in (1, 2)] == [1, 1]


def _only_in_tiles(toy: Toy, _: int) -> None:
    if not toy.tiled:
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_not_even_in_tiles(toy: Toy, ends: Ends) -> None:
    def never(_: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    toy.on_finish = never
    paint(toy, ends, TOY, replace(TOY, seed=2))
    assert [type(ends.ends[n]) for n in (1, 2)] == [OutOfMemory, OutOfMemory]


def test_numbers_that_overflow_in_the_safest_precision_fail_alone(toy: Toy, ends: Ends) -> None:
    paint(toy, ends, TOY, replace(TOY, prompt="nan"), replace(TOY, seed=3))
    error = failure(ends.ends[2])
    assert isinstance(error, Overflow)
    assert "overflowed in fp32" in str(error)
    assert (value(ends.ends[1]), value(ends.ends[3])) == (1, 3)


def test_what_overflows_is_drawn_again_in_the_next_precision_and_so_is_all_that_comes(toy: Toy, ends: Ends) -> None:
    half = Toy()
    half.colour = lambda _: float("nan")
    models = OneModel({"fp16": half, "fp32": toy})
    paint(models, ends, TOY, replace(TOY, seed=2, steps=5))
    assert (value(ends.ends[1]), value(ends.ends[2])) == (1, 2)
    first = image(ends.ends[1])
    assert (first.precision, first.notes) == ("fp32", (SAFER,))
    assert image(ends.ends[2]).notes == (SAFER,), "it was begun with the first one, and overflowed too"
    half.batches.clear()
    paint(models, Ends(), TOY)
    assert half.batches == []


def test_what_overflows_twice_fails(toy: Toy, ends: Ends) -> None:
    broken = [Toy(), Toy(), toy]
    for one in broken:
        one.colour = lambda _: float("inf")
    paint(OneModel(dict(zip(("fp16", "bf16", "fp32"), broken, strict=True))), ends, TOY)
    assert isinstance(failure(ends.ends[1]), Overflow)
    assert toy.batches == [], "drawn again once, no more"


def one_colour(toy: Toy) -> None:
    toy.finish = lambda state: torch.full((8, 8, 3), state.recipe.seed / 255)  # type: ignore[method-assign]


def test_a_picture_of_one_colour_is_drawn_once_more_and_delivered_as_it_is(toy: Toy, ends: Ends) -> None:
    half = Toy()
    one_colour(half)
    one_colour(toy)
    models = OneModel({"fp16": half, "fp32": toy})
    paint(models, ends, TOY)
    assert value(ends.ends[1]) == 1
    assert (len(half.batches), len(toy.batches)) == (3, 3)
    assert models.usual == "fp16", "somebody may have asked for plain black"


def test_a_picture_of_one_colour_that_is_none_in_a_safer_precision(toy: Toy, ends: Ends) -> None:
    half = Toy()
    one_colour(half)
    models = OneModel({"fp16": half, "fp32": toy})
    paint(models, ends, TOY)
    assert models.usual == "fp32"
    assert image(ends.ends[1]).precision == "fp32"


def to_the_end(executor: StepExecutor, *rows: RequestState) -> None:
    executor.add(rows)
    while len(executor):
        executor.step()


def overflows(*seeds: int) -> Toy:
    """Return a toy whose pictures of these seeds are not finite."""
    toy = Toy()
    toy.colour = lambda seed: float("nan") if seed in seeds else seed / 255
    return toy


CANT_LOAD = (UnknownModel("its files are of cheese"), OutOfMemory("fp32 does not fit"), EngineError("no such library"))


@pytest.mark.parametrize("why", CANT_LOAD, ids=lambda e: e.code)
def test_without_a_safer_precision_one_fails_and_all_others_are_drawn(toy: Toy, ends: Ends, why: EngineError) -> None:
    half = overflows(9)
    models = OneModel({"fp16": half, "fp32": toy}, broken={"fp32": why})
    with painting(models, ends) as executor:
        to_the_end(
            executor,
            RequestState(1, TOY),
            RequestState(2, replace(TOY, seed=9)),
            RequestState(3, replace(TOY, seed=3, steps=6)),
        )
        to_the_end(executor, RequestState(4, replace(TOY, seed=4)), RequestState(5, replace(TOY, seed=5, width=16)))
    error = failure(ends.ends[2])
    assert isinstance(error, Overflow)
    assert str(why) in str(error)
    assert [value(ends.ends[n]) for n in (1, 3, 4, 5)] == [1, 3, 4, 5]
    assert models.usual == "fp16"
    assert sum(3 in batch for batch in half.batches) == 6, "it never started over"


@pytest.mark.parametrize("steps", [2, 3, 9])
def test_the_company_of_what_overflows_does_not_start_over(toy: Toy, ends: Ends, steps: int) -> None:
    half = overflows(9)
    models = OneModel({"fp16": half, "fp32": toy})
    other = replace(TOY, seed=2, steps=steps)
    paint(models, ends, replace(TOY, seed=9), other, replace(other, seed=3, width=16))
    assert (value(ends.ends[1]), image(ends.ends[1]).precision) == (9, "fp32")
    assert [value(ends.ends[n]) for n in (2, 3)] == [2, 3]
    for seed in (2, 3):
        assert sum(seed in batch for batch in half.batches + toy.batches) == steps
    assert models.usual == "fp32"
    assert models.reloads <= 3


def test_a_precision_is_settled_on_only_when_it_helped(toy: Toy, ends: Ends) -> None:
    models = OneModel({"fp16": overflows(9), "fp32": overflows(9)})
    with painting(models, ends) as executor:
        to_the_end(executor, RequestState(1, replace(TOY, seed=9)))
        assert isinstance(failure(ends.ends[1]), Overflow)
        to_the_end(executor, RequestState(2, TOY))
    assert image(ends.ends[2]).precision == "fp16"
    assert models.usual == "fp16"


def test_pictures_that_overflow_everywhere_do_not_load_the_model_each_time(ends: Ends) -> None:
    clock = FakeClock()
    models = OneModel({"fp16": overflows(9), "fp32": overflows(9)})
    with painting(models, ends, clock) as executor:
        for n in range(1, 10, 2):
            to_the_end(executor, RequestState(n, replace(TOY, seed=9)))
            to_the_end(executor, RequestState(n + 1, TOY))
        assert models.reloads == 2
        clock.advance(FIRST_PAUSE)
        to_the_end(executor, RequestState(11, replace(TOY, seed=9)), RequestState(12, replace(TOY, seed=9)))
        to_the_end(executor, RequestState(13, TOY))
        assert models.reloads == 4, "two that are due at one time are drawn together"
    assert all(isinstance(ends.ends[n], Overflow) for n in (1, 3, 5, 7, 9, 11, 12))
    assert all(value(ends.ends[n]) == 1 for n in (2, 4, 6, 8, 10, 13))


def flat(*seeds: int) -> Toy:
    """Return a toy whose pictures of these seeds are of one colour."""
    toy = Toy()
    usual = toy.finish

    def finish(state: DenoiseState) -> torch.Tensor:
        found = usual(state)
        if state.recipe.seed in seeds:
            found[:] = state.recipe.seed / 255
        return found

    toy.finish = finish  # type: ignore[method-assign]
    return toy


def test_pictures_of_one_colour_do_not_load_the_model_each_time(ends: Ends) -> None:
    clock = FakeClock()
    half, full = flat(9), flat(9)
    models = OneModel({"fp16": half, "fp32": full})
    with painting(models, ends, clock) as executor:
        for n in range(1, 10, 2):
            to_the_end(executor, RequestState(n, replace(TOY, seed=9)))
            to_the_end(executor, RequestState(n + 1, TOY))
        assert (models.reloads, len(full.batches)) == (2, 3)
        clock.advance(FIRST_PAUSE)
        for n in range(11, 14):
            to_the_end(executor, RequestState(n, replace(TOY, seed=9)))
        assert len(full.batches) == 6
        clock.advance(FIRST_PAUSE)
        to_the_end(executor, RequestState(14, replace(TOY, seed=9)))
        assert len(full.batches) == 6, "each time doubles the pause"
    assert all(value(ends.ends[n]) == 9 for n in (1, 3, 5, 7, 9, 11, 12, 13, 14))


def test_whoever_takes_a_picture_of_one_colour_back_has_used_the_ration(ends: Ends) -> None:
    full = flat(9)
    models = OneModel({"fp16": flat(9), "fp32": full})
    with painting(models, ends) as executor:
        for n in (1, 2, 3):
            full.on_step = lambda _, __, n=n: ends.dropped.add(n)  # type: ignore[misc]
            to_the_end(executor, RequestState(n, replace(TOY, seed=9)))
    assert len(full.batches) == 1


def test_flat_pictures_do_not_use_up_what_overflowing_ones_are_granted(toy: Toy, ends: Ends) -> None:
    half = flat(9)
    half.colour = lambda seed: float("nan") if seed == 8 else seed / 255
    full = flat(9)
    models = OneModel({"fp16": half, "fp32": full})
    with painting(models, ends) as executor:
        to_the_end(executor, RequestState(1, replace(TOY, seed=9)))
        to_the_end(executor, RequestState(2, replace(TOY, seed=8)))
    assert (value(ends.ends[2]), models.usual) == (8, "fp32")


@pytest.mark.parametrize("why", CANT_LOAD, ids=lambda e: e.code)
def test_a_picture_of_one_colour_is_handed_over_when_no_safer_precision_can_be_loaded(
    toy: Toy, ends: Ends, why: EngineError
) -> None:
    models = OneModel({"fp16": flat(9), "fp32": toy}, broken={"fp32": why})
    paint(models, ends, replace(TOY, seed=9, prompt="long"), TOY)
    found = image(ends.ends[1])
    assert (value(found), found.precision, found.notes) == (9, "fp16", (PROMPT_CUT,))
    assert value(ends.ends[2]) == 1


def test_a_picture_records_that_its_prompt_has_weights(toy: Toy, ends: Ends) -> None:
    guided = replace(TOY, guidance=2.0)
    recipes = (TOY, replace(TOY, prompt="(a)"), replace(guided, negative="b"), replace(guided, negative="(b)"))
    paint(OneModel({"fp32": toy}), ends, *recipes)
    weighted = with_extras("setup of toy", "prompt syntax")
    found = [image(ends.ends[n]).setup for n in range(1, 5)]
    assert found == ["setup of toy", weighted, "setup of toy", weighted]


def test_a_picture_records_how_weights_are_quantised(toy: Toy, ends: Ends) -> None:
    guided = replace(TOY, prompt="(a)")
    paint(OneModel({"int8": toy}, quantised="int8 w8a8 torch 2.13.0"), ends, TOY, guided)
    assert image(ends.ends[1]).setup == with_extras("setup of toy", "int8 w8a8 torch 2.13.0")
    assert image(ends.ends[2]).setup == with_extras("setup of toy", "prompt syntax int8 w8a8 torch 2.13.0")


def test_a_picture_of_one_colour_that_overflows_in_a_safer_precision_is_handed_over(ends: Ends) -> None:
    models = OneModel({"fp16": flat(9), "bf16": overflows(9), "fp32": Toy()})
    paint(models, ends, replace(TOY, seed=9))
    assert (value(ends.ends[1]), image(ends.ends[1]).precision) == (9, "fp16")
    assert models.usual == "fp16"


@pytest.mark.parametrize("noise", [0, 4])
def test_a_plain_start_explains_a_picture_of_one_colour(toy: Toy, ends: Ends, tmp_path: Path, noise: int) -> None:
    pixels = np.full((8, 8, 3), 90, np.uint8) + np.random.default_rng(0).integers(0, noise + 1, (8, 8, 3), np.uint8)
    Pillow.fromarray(pixels).save(tmp_path / "plain.png")
    mask = Pillow.new("L", (8, 8))
    mask.putpixel((0, 0), 255)
    mask.save(tmp_path / "mask.png")
    models = OneModel({"fp16": flat(9), "fp32": toy})
    given = replace(TOY, seed=9, image=str(tmp_path / "plain.png"))
    paint(models, ends, given, replace(given, mask=str(tmp_path / "mask.png")))
    assert [image(ends.ends[n]).precision for n in (1, 2)] == ["fp16", "fp16"]
    assert (toy.batches, models.reloads) == ([], 0)


def test_a_start_with_something_in_it_explains_nothing(toy: Toy, ends: Ends, tmp_path: Path) -> None:
    Pillow.linear_gradient("L").resize((8, 8)).save(tmp_path / "start.png")
    models = OneModel({"fp16": flat(9), "fp32": toy})
    paint(models, ends, replace(TOY, seed=9, image=str(tmp_path / "start.png")))
    assert (image(ends.ends[1]).precision, models.usual) == ("fp32", "fp32")


def test_a_lost_device_ends_the_process(toy: Toy, ends: Ends) -> None:
    def lost(_: list[int], __: int) -> None:
        raise torch.AcceleratorError("an illegal memory access was encountered")

    toy.on_step = lost
    with pytest.raises(torch.AcceleratorError):
        paint(toy, ends, TOY)
    assert not ends.ends


def test_a_negative_prompt_counts_above_one(toy: Toy) -> None:
    for guidance in (0.0, 1.0, 1.5):
        paint(toy, Ends(), replace(TOY, negative="red", guidance=guidance))
    assert toy.encoded == ["a", "a", "", "a", "red"]


def test_ten_prompts_rerolled_a_hundred_times_are_encoded_ten_times(toy: Toy, ends: Ends) -> None:
    paint(toy, ends, *(replace(TOY, prompt=f"p{n % 10}", seed=n, steps=1) for n in range(1000)))
    assert sorted(toy.encoded) == [f"p{n}" for n in range(10)]
    assert len(ends.ends) == 1000


def test_a_prompt_that_was_cut_is_told(toy: Toy, ends: Ends) -> None:
    paint(toy, ends, replace(TOY, prompt="long"))
    assert image(ends.ends[1]).notes == (PROMPT_CUT,)


def test_previews_are_for_those_who_look(toy: Toy, ends: Ends) -> None:
    ends.looked = {2}
    paint(toy, ends, TOY, replace(TOY, seed=2))
    # One in a quarter of a second, and this takes less; the last step has the picture itself.
    assert toy.previewed == [2]
    ((ticket, data, mime),) = ends.previews
    assert (ticket, mime, Pillow.open(io.BytesIO(data)).format) == (2, "image/jpeg", "JPEG")


def test_the_picture_to_start_from_is_read_and_a_bad_one_fails_alone(toy: Toy, ends: Ends, tmp_path: Path) -> None:
    Pillow.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    good = replace(TOY, image=str(tmp_path / "red.png"))
    paint(toy, ends, good, replace(TOY, image=str(tmp_path / "bad.png")), TOY)
    assert value(ends.ends[1]) == 1
    assert isinstance(failure(ends.ends[2]), BadImage)
    assert [s is not None for s in toy.starts] == [True, False]


class Editor(Toy):
    """Takes references, and keeps their shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[list[tuple[int, ...]]] = []

    def start(
        self,
        recipe: Recipe,
        embed: EmbedPrompt,
        init_image: InitImage | None = None,
        references: Sequence[NDArray[np.uint8]] = (),
    ) -> DenoiseState:
        self.given.append([picture.shape for picture in references])
        return super().start(recipe, embed, init_image)


def test_references_reach_the_family_in_order_and_a_bad_one_fails_alone(ends: Ends, tmp_path: Path) -> None:
    for name, size in {"wide": (400, 100), "small": (8, 12)}.items():
        Pillow.new("RGB", size, "red").save(tmp_path / f"{name}.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    wide, small, bad = (str(tmp_path / f"{name}.png") for name in ("wide", "small", "bad"))
    editor = Editor()
    models = OneModel({"fp32": editor}, pixels=10_000)
    paint(models, ends, replace(TOY, references=(wide, small)), replace(TOY, references=(small, bad)), TOY)
    assert value(ends.ends[1]) == 1
    error = failure(ends.ends[2])
    assert isinstance(error, BadImage)
    assert "reference picture 2" in str(error)
    # The first is scaled down to what the model takes.
    assert editor.given == [[(50, 200, 3), (12, 8, 3)], []]


def test_a_batched_family_refuses_references(toy: Toy, ends: Ends, tmp_path: Path) -> None:
    Pillow.new("RGB", (8, 8)).save(tmp_path / "a.png")
    paint(toy, ends, replace(TOY, references=(str(tmp_path / "a.png"),)), TOY)
    assert isinstance(failure(ends.ends[1]), BadRecipe)
    assert value(ends.ends[2]) == 1


def out_of_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("where", ["encode", "step", "finish"])
def test_when_memory_runs_out_another_model_goes_first(toy: Toy, ends: Ends, where: str) -> None:
    models = OneModel({"fp32": toy}, rooms=1)

    def short(*_: object) -> None:
        if models.rooms:
            out_of_memory()

    setattr(toy, f"on_{where}", short)
    paint(models, ends, TOY, replace(TOY, seed=2))
    assert {t: value(e) for t, e in ends.ends.items()} == {1: 1, 2: 2}
    assert not toy.tiled, "the room of the other model was enough"
    if where != "encode":
        assert all(len(batch) == 2 for batch in toy.batches), "so both share each step"


@pytest.mark.parametrize("where", ["encode", "step", "finish"])
def test_when_no_other_model_is_left_a_picture_that_is_too_large_fails(toy: Toy, ends: Ends, where: str) -> None:
    models = OneModel({"fp32": toy}, rooms=2)
    setattr(toy, f"on_{where}", lambda *_: out_of_memory())
    paint(models, ends, TOY)
    assert isinstance(ends.ends[1], OutOfMemory)
    assert models.rooms < 0


def test_a_small_mask_is_noted_and_counts_for_what_is_drawn_again(toy: Toy, ends: Ends, tmp_path: Path) -> None:
    Pillow.new("RGB", (8, 8), "green").save(tmp_path / "a.png")
    for name, side in (("small", 2), ("large", 6)):
        mask = Pillow.new("L", (8, 8), 0)
        mask.paste(255, (0, 0, side, side))
        mask.save(tmp_path / f"{name}.png")
    masked = replace(TOY, image=str(tmp_path / "a.png"))
    small, large = (replace(masked, mask=str(tmp_path / f"{name}.png")) for name in ("small", "large"))
    paint(toy, ends, small, large)
    assert [start is not None and start.zoomed for start in toy.starts] == [True, False]
    assert image(ends.ends[1]).notes == (MASK_ZOOMED,)
    assert image(ends.ends[1]).setup == with_extras("setup of toy", "mask zoom")
    assert (image(ends.ends[2]).notes, image(ends.ends[2]).setup) == ((), "setup of toy")


def test_more_share_a_step_again_a_while_after_memory_ran_out(toy: Toy, ends: Ends) -> None:
    clock, short = FakeClock(), [True]

    def step(seeds: list[int], _: int) -> None:
        if short[0] and len(seeds) > 2:
            out_of_memory()

    toy.on_step = step
    with painting(OneModel({"fp32": toy}), ends, clock) as executor:

        def drawn(*tickets: int) -> int:
            """Draw four pictures and return the most that shared a step."""
            toy.batches.clear()
            executor.add(RequestState(n, replace(TOY, seed=n)) for n in tickets)
            while len(executor):
                executor.step()
            return max(len(batch) for batch in toy.batches[1:])

        assert drawn(1, 2, 3, 4) == 2
        assert drawn(5, 6, 7, 8) == 2
        clock.advance(FIRST_CAP)
        assert drawn(9, 10, 11, 12) == 2
        assert len(toy.batches[0]) == 4, "it was tried"
        clock.advance(FIRST_CAP)
        assert drawn(13, 14, 15, 16) == 2
        assert len(toy.batches[0]) == 2, "each time doubles the pause"
        clock.advance(FIRST_CAP)
        short[0] = False
        assert drawn(17, 18, 19, 20) == 4
    assert all(isinstance(end, Image) for end in ends.ends.values())


def test_rows_of_different_lengths_are_measured_both_ways(
    toy: Toy, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Apart, the toy is quicker; on a CPU a clock tells."""
    now, ways = [0.0], []
    monkeypatch.setattr("engine.diffusion.device.time.monotonic", lambda: now[0])
    monkeypatch.setattr(toy, "padded_length", lambda prompt: int(prompt.tensors[0].isnan().item()))
    step = toy.step

    def slow(states: Sequence[Any], *, apart: bool = False) -> None:
        step(states, apart=apart)
        ways.append(apart)
        now[0] += 1.0 if apart else 2.0

    monkeypatch.setattr(toy, "step", slow)
    paint(toy, ends, replace(TOY, prompt="nan", steps=12), replace(TOY, steps=12))
    assert ways == [False] * MIN_SAMPLES + [True] * (12 - MIN_SAMPLES)
    ways.clear()
    paint(toy, ends, replace(TOY, steps=2), replace(TOY, steps=2))
    assert ways == [False] * 2, "of one length, there is nothing to choose"


def test_how_many_share_a_step_is_told(toy: Toy, ends: Ends) -> None:
    with painting(OneModel({"fp32": toy}, fits=3), ends) as executor:
        to_the_end(executor, *(RequestState(n, replace(TOY, seed=n)) for n in (1, 2)))
        assert executor.sizes == {("toy", TOY.width, TOY.height): 3}
