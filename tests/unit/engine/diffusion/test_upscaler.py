"""The operator's upscaler enlarges what is too small, and nothing else; what is wrong with it is one sentence."""

from __future__ import annotations

import gc
import io
import sys
import weakref
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as Pillow
from safetensors.torch import save_file

import engine.diffusion.executor
import engine.diffusion.upscaler
from engine import catalogue
from engine.contract import EngineError, Image, Recipe, UnknownModel
from engine.diffusion import init_image
from engine.diffusion.executor import StepExecutor
from engine.diffusion.fingerprint import with_extras
from engine.diffusion.image_encoder import ImageEncoder
from engine.diffusion.loader import Loader
from engine.diffusion.model_manager import ModelManager
from engine.diffusion.request_state import RequestState
from engine.diffusion.upscaler import MARGIN, TILE, Upscaler, spans
from tests.fakes import models, upscalers
from tests.unit.engine.diffusion.toy import TOY, Ends, OneModel, Quiet, Toy, to_its_end

CPU = torch.device("cpu")


class Loads:
    """What the library was asked to load, and on which devices; it keeps nothing of it alive."""

    def __init__(self) -> None:
        self.devices: list[str] = []
        self.models: list[weakref.ref[torch.nn.Module]] = []


@pytest.fixture(autouse=True)
def loads(monkeypatch: pytest.MonkeyPatch) -> Loads:
    found = Loads()

    class Counting(upscalers.ModelLoader):
        def load_from_file(self, path: str | Path) -> upscalers.ImageModelDescriptor:
            found.devices.append(str(self.device))
            model = super().load_from_file(path)
            found.models.append(weakref.ref(model.model))
            return model

    upscalers.put(monkeypatch)
    monkeypatch.setattr(sys.modules["spandrel"], "ModelLoader", Counting)
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return upscalers.write(tmp_path / "x2.safetensors")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Return the shapes of what models are shown."""
    shapes: list[tuple[int, ...]] = []
    forward = upscalers.Local.forward

    def watched(model: upscalers.Local, image: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(image.shape))
        return forward(model, image)

    monkeypatch.setattr(upscalers.Local, "forward", watched)
    return shapes


def grey(path: Path, width: int, height: int) -> Path:
    Pillow.new("RGB", (width, height), (100, 100, 100)).save(path)
    return path


def noise(width: int, height: int) -> Pillow.Image:
    pixels = np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)
    return Pillow.fromarray(pixels)


def whole(path: Path, picture: Pillow.Image) -> NDArray[np.uint8]:
    """Return what the model makes of a picture that it sees at once."""
    image = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
    found = upscalers.ModelLoader().load_from_file(path)(image)[0]
    return np.asarray((found * 255).round().to(torch.uint8).permute(1, 2, 0))


@pytest.mark.parametrize(
    ("size", "enlarged"),
    [
        ((4, 4), True),
        ((7, 7), True),
        ((1, 1), True),
        ((8, 8), False),
        ((4, 8), False),
        ((8, 4), False),
        ((9, 9), False),
    ],
)
def test_only_what_is_smaller_both_ways_is_enlarged_by_it(
    size: tuple[int, int], enlarged: bool, file: Path, loads: Loads, tmp_path: Path
) -> None:
    upscaler = Upscaler(file, CPU)
    found = to_its_end(init_image.read(replace(TOY, image=str(grey(tmp_path / "a.png", *size))), upscaler))
    assert found is not None
    assert found.pixels.shape == (8, 8, 3)
    assert (found.pixels == (100 + upscalers.SHIFT * enlarged, 100, 100)).all()
    assert (found.upscaler, len(loads.devices)) == ((upscaler.digest, 1) if enlarged else ("", 0))
    assert bool(upscaler.digest) is enlarged


@pytest.mark.parametrize(
    ("size", "given"), [((48, 40), (13, 21)), ((64, 64), (63, 9)), ((24, 72), (23, 11)), ((48, 48), (7, 7))]
)
def test_whatever_the_ratio_it_ends_in_the_recipes_size(
    size: tuple[int, int], given: tuple[int, int], file: Path, tmp_path: Path
) -> None:
    recipe = replace(TOY, width=size[0], height=size[1], image=str(grey(tmp_path / "a.png", *given)))
    found = to_its_end(init_image.read(recipe, Upscaler(file, CPU)))
    assert found is not None
    assert found.pixels.shape == (size[1], size[0], 3)
    assert (found.pixels == (100 + upscalers.SHIFT, 100, 100)).all()


def test_a_mask_is_never_shown_to_it(file: Path, tmp_path: Path, seen: list[tuple[int, ...]]) -> None:
    noise(6, 6).save(tmp_path / "m.png")
    recipe = replace(TOY, image=str(grey(tmp_path / "a.png", 5, 5)), mask=str(tmp_path / "m.png"))
    found, without = (to_its_end(init_image.read(recipe, by)) for by in (Upscaler(file, CPU), None))
    assert found is not None
    assert without is not None
    assert seen == [(1, 3, 5, 5)]
    assert found.mask is not None
    assert np.array_equal(found.mask, without.mask)  # type: ignore[arg-type]
    assert found.upscaler


@pytest.mark.parametrize("size", [(200, 430), (TILE, TILE), (TILE + 1, TILE - 1), (5, 700), (1, 1)])
@pytest.mark.parametrize("scale", [2, 3])
def test_in_tiles_it_is_the_same_picture_as_at_once(size: tuple[int, int], scale: int, tmp_path: Path) -> None:
    # Beyond a tile's edge the model sees nothing, so that whatever is too near to one shows.
    path = upscalers.write(tmp_path / "up.safetensors", scale=scale, reach=MARGIN)
    found = np.asarray(to_its_end(Upscaler(path, CPU).upscale(noise(*size))))
    assert np.abs(found.astype(int) - whole(path, noise(*size))).max() <= 1


@given(st.integers(1, 5000))
def test_tiles_cover_a_side_once_and_keep_away_from_their_edges(length: int) -> None:
    found = list(spans(length))
    at = 0
    for first, begin, end in found:
        last = first + min(TILE, length)
        assert first >= 0
        assert last <= length
        assert begin == at
        assert first + MARGIN <= begin or first == begin == 0
        assert end <= last - MARGIN or end == last == length
        at = end
    assert at == length
    assert len(found) <= max(1, -(-length // (TILE - 2 * MARGIN)))


def test_of_a_large_picture_it_sees_tiles(file: Path, seen: list[tuple[int, ...]]) -> None:
    to_its_end(Upscaler(file, CPU).upscale(noise(300, 400)))
    assert seen == [(1, 3, TILE, TILE)] * 6


def test_that_it_is_at_work_is_said_within_a_tile_too(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.diffusion.upscaler, "WORKING_SECONDS", 0.0)
    told: list[None] = []
    to_its_end(Upscaler(file, CPU, lambda: told.append(None)).upscale(noise(9, 9)))
    assert len(told) > 1


def test_one_that_makes_its_own_tiles_sees_all_at_once(tmp_path: Path, seen: list[tuple[int, ...]]) -> None:
    path = upscalers.write(tmp_path / "up.safetensors", reach=2 * MARGIN, tiling=upscalers.ModelTiling.INTERNAL)
    found = to_its_end(Upscaler(path, CPU).upscale(noise(200, 250)))
    assert seen == [(1, 3, 250, 200)]
    assert np.array_equal(np.asarray(found), whole(path, noise(200, 250)))


def test_one_that_adds_noise_adds_the_same_again(tmp_path: Path) -> None:
    upscaler = Upscaler(upscalers.write(tmp_path / "up.safetensors", noise=0.2), CPU)
    first = np.asarray(to_its_end(upscaler.upscale(noise(9, 9))))
    torch.rand(5)
    assert np.array_equal(np.asarray(to_its_end(upscaler.upscale(noise(9, 9)))), first)


def test_it_is_loaded_when_it_is_needed_and_once_until_it_is_let_go_of(file: Path, loads: Loads) -> None:
    upscaler = Upscaler(file, CPU)
    assert loads.devices == []
    first = to_its_end(upscaler.upscale(noise(9, 9)))
    assert np.array_equal(np.asarray(to_its_end(upscaler.upscale(noise(9, 9)))), np.asarray(first))
    assert len(loads.devices) == 1
    upscaler.unload()
    gc.collect()
    assert loads.models[0]() is None
    to_its_end(upscaler.upscale(noise(9, 9)))
    assert len(loads.devices) == 2


def test_looked_at_when_the_engine_starts_it_is_not_kept(file: Path, loads: Loads) -> None:
    upscaler = Upscaler(file, torch.device("meta"))
    upscaler.check()
    assert loads.devices == ["cpu"], "nothing of the device's memory is taken"
    assert loads.models[0]() is None
    assert upscaler.digest == ""
    with pytest.raises(EngineError):  # nothing can be computed there
        to_its_end(upscaler.upscale(noise(2, 2)))
    assert loads.devices == ["cpu", "meta"]


def test_its_digest_is_of_what_is_in_the_file(file: Path, tmp_path: Path) -> None:
    def digest(path: Path) -> str:
        upscaler = Upscaler(path, CPU)
        to_its_end(upscaler.upscale(noise(2, 2)))
        return upscaler.digest

    moved = tmp_path / "other.safetensors"
    moved.write_bytes(file.read_bytes())
    assert digest(moved) == digest(file) != ""
    assert digest(upscalers.write(moved, scale=3)) != digest(file)


def refusal(path: Path) -> EngineError:
    with pytest.raises(EngineError) as caught:
        Upscaler(path, CPU).check()
    assert str(caught.value).startswith("EASEL_UPSCALER")
    assert "\n" not in str(caught.value)
    with pytest.raises(EngineError, match="EASEL_UPSCALER"):
        to_its_end(Upscaler(path, CPU).upscale(noise(2, 2)))
    return caught.value


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"purpose": "Restoration", "scale": 1}, "enlarges nothing (its purpose is Restoration, its scale 1)"),
        ({"purpose": "FaceSR", "scale": 2}, "enlarges nothing (its purpose is FaceSR, its scale 2)"),
        ({"purpose": "Inpainting", "scale": 1}, "enlarges nothing (its purpose is Inpainting, its scale 1)"),
        ({"scale": 1}, "enlarges nothing (its purpose is SR, its scale 1)"),
        ({"shift": (0.1,)}, "makes pictures of 1 channels from 1; give a model for RGB."),
        ({"reach": -2}, "can't be loaded (RuntimeError: "),
    ],
)
def test_a_model_of_another_kind_is_refused(
    more: dict[str, Any], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "reach" in more:  # its tensors lead the library astray

        def astray(*_: object) -> None:
            raise RuntimeError("size mismatch\nfor conv_first.weight")

        monkeypatch.setattr(upscalers, "Local", astray)
    path = upscalers.write(tmp_path / "up.safetensors", **more)
    assert f"{path} " in str(refusal(path))
    assert sentence in str(refusal(path))


def test_tensors_of_nothing_that_is_known(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    error = refusal(tmp_path / "a.safetensors")
    assert isinstance(error, UnknownModel)
    assert "is of no kind that spandrel knows" in str(error)


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("up.pth", b"\x80\x02}", "is no .safetensors file; other weights can run code"),
        ("up.safetensors", b"\x80\x02}" * 99, "is a pickle, whatever its name says"),
        ("up.safetensors", b"\x00" * 99, "is damaged: its header is cut short"),
        ("up.safetensors", None, "is not there"),
    ],
)
def test_no_such_file_or_no_safetensors(name: str, data: bytes | None, sentence: str, tmp_path: Path) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    error = refusal(tmp_path / name)
    assert isinstance(error, UnknownModel)
    assert sentence in str(error)


def test_without_its_library_it_says_how_to_get_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    error = refusal(file)
    assert not isinstance(error, UnknownModel)
    assert str(error) == "EASEL_UPSCALER needs spandrel, which is not installed: pip install 'easel[upscale]'."


def test_a_library_that_does_not_go_with_this_torch(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spandrel.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.delitem(sys.modules, "spandrel")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "can't be imported (RuntimeError: operator torchvision::nms does not exist): install" in str(refusal(file))


def test_weights_that_are_no_numbers_end_in_a_sentence(tmp_path: Path) -> None:
    path = upscalers.write(tmp_path / "up.safetensors", shift=(float("nan"), 0, 0))
    with pytest.raises(EngineError, match=r"up\.safetensors gave numbers that are no picture"):
        to_its_end(Upscaler(path, CPU).upscale(noise(2, 2)))


def paint(executor: StepExecutor, *recipes: Recipe, first: int = 0) -> None:
    executor.add(RequestState(ticket, recipe) for ticket, recipe in enumerate(recipes, first))
    while len(executor):
        executor.step()


def test_a_picture_says_what_enlarged_its_start_and_a_bad_upscaler_takes_no_other_with_it(
    file: Path, tmp_path: Path
) -> None:
    ends, encoder, upscaler = Ends(), ImageEncoder(), Upscaler(file, CPU)
    executor = StepExecutor(OneModel({"fp32": Toy()}), ends, encoder, CPU, upscaler=upscaler)
    small = replace(TOY, image=str(grey(tmp_path / "small.png", 4, 4)))
    large = replace(TOY, image=str(grey(tmp_path / "large.png", 8, 8)))
    paint(executor, small, large, TOY)
    upscaler.unload()
    file.unlink()
    paint(executor, small, large, first=3)
    encoder.close()
    assert upscaler.digest
    assert [getattr(ends.ends[n], "setup", None) for n in range(5)] == [
        with_extras("setup of toy", upscaler.digest),
        *["setup of toy"] * 2,
        None,
        "setup of toy",
    ]
    assert isinstance(ends.ends[3], UnknownModel)


def test_drawn_over_what_the_model_made_of_it(file: Path, tmp_path: Path) -> None:
    folder = models.small_sd15(tmp_path / "small")
    specs = catalogue.specs(str(folder), str(tmp_path), "")
    noise(32, 32).save(tmp_path / "small.png")
    Pillow.fromarray(whole(file, noise(32, 32))).save(tmp_path / "large.png")
    recipe = Recipe("a", specs[0].profile.name, "a red cat", "", 64, 64, 4, 0.0, 1, strength=0.5)

    def drawn(image: str, upscaler: Upscaler | None) -> Image:
        loader = Loader("cpu", "auto", str(tmp_path), "", lambda _, __: pytest.fail("nothing needs a download"))
        ends, encoder = Ends(), ImageEncoder()
        executor = StepExecutor(ModelManager(specs, loader, Quiet()), ends, encoder, loader.device, upscaler=upscaler)
        paint(executor, replace(recipe, image=str(tmp_path / image)))
        encoder.close()
        end = ends.ends[0]
        assert isinstance(end, Image), end
        return end

    upscaler = Upscaler(file, CPU)
    by_it, by_hand, scaled = drawn("small.png", upscaler), drawn("large.png", None), drawn("small.png", None)
    assert by_it.data == by_hand.data != scaled.data
    assert Pillow.open(io.BytesIO(by_it.data)).size == (64, 64)
    assert by_it.setup == with_extras(scaled.setup, upscaler.digest)
    assert by_hand.setup == scaled.setup


class Slow:
    """Enlarges in as many tiles as a test lets it."""

    digest = "slow"

    def __init__(self) -> None:
        self.tiles = 0
        self.done = False
        self.closed = False

    def upscale(self, picture: Pillow.Image) -> Generator[None, None, Pillow.Image]:
        try:
            while not self.done:
                self.tiles += 1
                yield
        finally:
            self.closed = True
        return picture.resize((16, 16))


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    monkeypatch.setattr(engine.diffusion.executor, "INIT_IMAGE_SECONDS", 0.0)
    return Slow()


def test_others_are_drawn_while_a_picture_is_enlarged_tile_by_tile(slow: Slow, tmp_path: Path) -> None:
    ends, encoder, toy = Ends(), ImageEncoder(), Toy()
    executor = StepExecutor(OneModel({"fp32": toy}), ends, encoder, CPU, upscaler=slow)
    executor.add(
        [RequestState(0, replace(TOY, image=str(grey(tmp_path / "a.png", 4, 4)), seed=7)), RequestState(1, TOY)]
    )
    turns = 0
    while len(executor) == 2:
        executor.step()
        turns += 1
    assert (turns, slow.tiles) == (TOY.steps, TOY.steps), "one tile, one step of the other"
    assert toy.batches == [[TOY.seed]] * TOY.steps
    slow.done = True
    while len(executor):
        executor.step()
    encoder.close()
    assert toy.batches[TOY.steps :] == [[7]] * TOY.steps
    assert [type(ends.ends[n]) for n in (0, 1)] == [Image, Image]
    found = toy.starts[-1]
    assert found is not None
    assert found.upscaler == "slow"


def test_a_picture_that_is_not_wanted_any_more_is_enlarged_no_further(slow: Slow, tmp_path: Path) -> None:
    ends, encoder = Ends(), ImageEncoder()
    executor = StepExecutor(OneModel({"fp32": Toy()}), ends, encoder, CPU, upscaler=slow)
    executor.add([RequestState(0, replace(TOY, image=str(grey(tmp_path / "a.png", 4, 4))))])
    executor.step()
    executor.step()
    ends.dropped.add(0)
    executor.step()
    gc.collect()
    assert (len(executor), slow.tiles, slow.closed) == (0, 2, True)
    encoder.close()


@pytest.mark.parametrize("when", ["loading", "computing"])
def test_what_does_not_fit_the_device_is_computed_by_the_processor(
    when: str, file: Path, monkeypatch: pytest.MonkeyPatch, loads: Loads
) -> None:
    loaded, forward = upscalers.ModelLoader.load_from_file, upscalers.Local.forward
    tried: list[str] = []
    moved: list[torch.device] = []

    def load(loader: upscalers.ModelLoader, path: str | Path) -> upscalers.ImageModelDescriptor:
        if loader.device.type == "meta" and when == "loading":
            raise torch.OutOfMemoryError
        return loaded(upscalers.ModelLoader(), path)

    def compute(model: upscalers.Local, image: torch.Tensor) -> torch.Tensor:
        tried.append(image.device.type)
        if image.device.type == "meta":
            raise torch.OutOfMemoryError
        return forward(model, image)

    monkeypatch.setattr(upscalers.ImageModelDescriptor, "to", lambda _, device: moved.append(device))
    monkeypatch.setattr(upscalers.ModelLoader, "load_from_file", load)
    monkeypatch.setattr(upscalers.Local, "forward", compute)
    upscaler = Upscaler(file, torch.device("meta"))
    found = np.asarray(to_its_end(upscaler.upscale(noise(9, TILE + 1))))
    assert np.array_equal(found, whole(file, noise(9, TILE + 1)))
    assert moved == ([] if when == "loading" else [CPU])
    assert tried[:3] == (["cpu"] * 3 if when == "loading" else ["meta", "cpu", "cpu"])
    upscaler.unload()
    tried.clear()
    to_its_end(upscaler.upscale(noise(2, 2)))
    assert tried[0] == ("cpu" if when == "loading" else "meta"), "the device is tried again"
