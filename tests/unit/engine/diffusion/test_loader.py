"""What is quicker must not change what is drawn, and what does not work here is left out."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ZImagePipeline

from engine import catalogue
from engine.contract import EngineError, Image, OutOfMemory, Recipe, UnknownModel
from engine.diffusion import loader as loader_module
from engine.diffusion.executor import StepExecutor
from engine.diffusion.image_encoder import ImageEncoder
from engine.diffusion.loader import Loader, warm_recipe
from engine.diffusion.memory import probe
from engine.diffusion.memory.types import CPU, CUDA
from engine.diffusion.model_manager import LoadedModel, LoadError, ModelManager
from engine.diffusion.request_state import RequestState
from engine.families.batched import BatchedFamily
from engine.families.sd15.spec import sd15
from engine.families.z_image.model import ZImage
from engine.families.z_image.spec import demo
from engine.spec import ModelSpec
from tests.fakes import models
from tests.unit.engine.diffusion.toy import Ends, Quiet

pytestmark = pytest.mark.slow


def loader(device: str = "cpu") -> Loader:
    return Loader(device, "auto", "nowhere", "", lambda _, __: pytest.fail("a folder needs no download"))


def spec(folder: str | Path) -> ModelSpec:
    return ModelSpec(replace(demo(), source=str(folder)))


def end(made: Loader, of: ModelSpec) -> Image | EngineError:
    """Draw the throw-away picture and return its end."""
    ends, encoder = Ends(), ImageEncoder()
    executor = StepExecutor(ModelManager([of], made, Quiet()), ends, encoder, made.device)
    executor.add([RequestState(1, replace(warm_recipe(of), width=64, height=64))])
    while len(executor):
        executor.step()
    encoder.close()
    return ends.ends[1]


def test_from_a_folder_to_a_picture() -> None:
    here = loader()
    assert isinstance(end(here, spec(demo().source)), Image)
    assert (here.title, here.on_cpu) == ("cpu", True)
    assert here.memory() > 0


def test_what_is_unloaded_is_gone() -> None:
    here = loader()
    loaded = here.load(spec(demo().source), "")
    assert loaded.precision == "fp32"
    here.unload(loaded)
    assert loaded.family.pipe is None


def test_a_single_file_is_known_by_its_hash_and_a_folder_is_not(tmp_path: Path) -> None:
    folder = models.small_sd15(tmp_path / "base")
    file = models.single_file(folder, tmp_path / "checkpoint.safetensors")
    profile = replace(sd15(), source=str(file))
    assert loader().load(ModelSpec(profile, base=str(folder)), "").checkpoint == file
    assert loader().load(spec(demo().source), "").checkpoint is None


def test_what_is_kept_for_something_else_is_not_planned_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "host_free", lambda: 10**12)
    here = loader()
    here.reserved = 10**12 - 10**6
    with pytest.raises(LoadError) as caught:
        here.load(spec(demo().source), "")
    assert isinstance(caught.value.error, OutOfMemory)
    here.reserved = 0
    assert here.load(spec(demo().source), "").precision == "fp32"


def test_one_of_several_cards_refuses_what_a_single_one_leaves_to_the_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = loader()
    small = replace(probe.probe_device(here.device), kind=CUDA, name="a card", total=2**20, free=2**20, stream=False)
    monkeypatch.setattr(probe, "probe_device", lambda *_: small)
    loaded = here.load(spec(demo().source), "")
    assert loaded.memory is not None
    assert loaded.memory.plan.on == CPU
    turns: list[str] = []

    @contextmanager
    def turn() -> Iterator[None]:
        turns.append("begins")
        try:
            yield
        finally:
            turns.append("ends")

    several = Loader("cpu", "auto", "nowhere", "", lambda *_: None, slot="cuda:1", stay=True, turn=turn)
    assert several.title == "cuda:1"
    with pytest.raises(LoadError, match="does not fit the memory of cuda:1") as caught:
        several.load(spec(demo().source), "")
    assert isinstance(caught.value.error, OutOfMemory)
    assert turns == ["begins", "ends"]


def test_what_would_not_fit_in_place_of_another_is_known_before_that_is_unloaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    free = [10**12]
    monkeypatch.setattr(probe, "host_free", lambda: free[0])
    here = loader()
    loaded = here.load(spec(demo().source), "")
    assert here.check(spec(demo().source), "", [loaded]) == 0
    free[0] = 10**6
    with pytest.raises(LoadError) as caught:
        here.check(spec(models.small_sd15(tmp_path / "other")), "", [loaded])
    assert isinstance(caught.value.error, UnknownModel), "its files are looked at first"
    large = spec(demo().source)
    many = dict.fromkeys(large.profile.parameters, 10**10)
    with pytest.raises(LoadError) as caught:
        here.check(replace(large, profile=replace(large.profile, parameters=many)), "", [loaded])
    assert isinstance(caught.value.error, OutOfMemory)
    # What is loaded still works.
    assert here.fit(loaded, 192, 192) >= 1
    assert isinstance(loaded.family, BatchedFamily)
    assert loaded.family.encode("a cat").tensors[0].isfinite().all()


def test_what_the_model_before_would_give_back_counts_as_free(monkeypatch: pytest.MonkeyPatch) -> None:
    free = [10**12]
    monkeypatch.setattr(probe, "host_free", lambda: free[0])
    here = loader()
    loaded = here.load(spec(demo().source), "")
    look = here._without([loaded])
    assert look.free == look.host_free > free[0]
    parts = [p for p in loaded.family.pipe.components.values() if isinstance(p, torch.nn.Module)]
    weights = sum(t.nbytes for part in parts for t in (*part.parameters(), *part.buffers()))
    assert look.free - free[0] <= weights


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), OutOfMemory),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), OutOfMemory),
        (RuntimeError("Expected a tensor of 3 dimensions"), EngineError),
        (KeyError("x_embedder"), EngineError),
    ],
)
def test_whatever_a_load_raises_is_one_sentence_and_holds_no_tensors(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[EngineError]
) -> None:
    left: list[weakref.ref[torch.Tensor]] = []

    def assemble(*_: object, **__: object) -> None:
        weights = torch.ones(4)
        left.append(weakref.ref(weights))
        raise error

    monkeypatch.setattr(loader_module, "assemble", assemble)
    here = loader()
    with pytest.raises(LoadError) as caught:
        here.load(spec(demo().source), "")
    assert type(caught.value.error) is kind
    assert "\n" not in str(caught.value)
    error.__traceback__ = None  # this test's own
    assert left[0]() is None


def test_a_lost_device_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def assemble(*_: object, **__: object) -> None:
        raise torch.AcceleratorError("an illegal memory access was encountered")

    monkeypatch.setattr(loader_module, "assemble", assemble)
    with pytest.raises(torch.AcceleratorError):
        loader().load(spec(demo().source), "")


@pytest.mark.parametrize("part", ["transformer", "text_encoder", "vae"])
def test_a_file_that_ends_in_the_middle(part: str, tmp_path: Path) -> None:
    folder = models.cut_short(tmp_path / "model", part)
    with pytest.raises(LoadError) as caught:
        loader().load(spec(folder), "")
    assert isinstance(caught.value.error, UnknownModel)
    assert not caught.value.passing
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("damage", [models.pickled, models.coded])
def test_neither_pickles_nor_code_are_run(damage: Callable[[Path, Path], Path], tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    folder = damage(tmp_path / "model", trap)
    with pytest.raises(LoadError):
        loader().load(spec(folder), "")
    assert not trap.exists()


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(LoadError, match="EASEL_DEVICE asks for cuda:77"):
        loader("cuda:77")


def test_what_cannot_even_be_warmed_fails(tmp_path: Path) -> None:
    folder = models.poisoned(tmp_path / "model", word="<|im_start|>")
    found = end(loader(), spec(folder))
    assert isinstance(found, EngineError)
    assert "overflowed in fp32" in str(found)


def test_it_draws_on_one_device() -> None:
    assert loader().device == torch.device("cpu")


RED = Recipe("a", "demo", "a red apple on a blue background", "", 64, 64, 2, 0.0, 5)


@pytest.fixture(scope="module")
def model() -> ZImage:
    pipe: Any = ZImagePipeline.from_pretrained(demo().source, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return ZImage(pipe, torch.device("cpu"))


def drawn(model: ZImage) -> np.ndarray[Any, np.dtype[np.float32]]:
    drawing = model.begin(RED, model.encode(RED.prompt), None)
    while not drawing.finished:
        model.step([drawing])
    return model.finish(drawing).numpy()


def test_blocks_are_compiled_and_draw_the_same(model: ZImage) -> None:
    before = drawn(model)
    # "eager" goes the whole way through torch.compile but for the C++ compiler, which takes half a minute.
    assert loader_module.compile_blocks(model, "eager", RED)
    assert any(module._compiled_call_impl is not None for module in model.denoiser.modules())
    assert np.abs(drawn(model) - before).max() <= 1 / 255
    loader_module._undo(model.denoiser)


def test_a_backend_that_is_not_here_is_left_out(model: ZImage, caplog: pytest.LogCaptureFixture) -> None:
    before = drawn(model)
    with caplog.at_level(logging.WARNING):
        assert not loader_module.compile_blocks(model, "no_such_backend", RED)
    assert "EASEL_COMPILE=no_such_backend does not work here" in caplog.text
    assert np.array_equal(drawn(model), before)


class Counted(Loader):
    """Keeps the names of the models that it loads and unloads."""

    def load(
        self, spec: ModelSpec, precision: str, beside: Sequence[LoadedModel] = (), *, stay: bool = False
    ) -> LoadedModel:
        seen.append(f"+{spec.profile.name}")
        return super().load(spec, precision, beside, stay=stay)

    def unload(self, loaded: LoadedModel) -> None:
        seen.append(f"-{loaded.spec.profile.name}")
        super().unload(loaded)


seen: list[str] = []


@pytest.mark.parametrize("room", [True, False])
def test_two_models_in_turn_are_loaded_once_where_both_fit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, room: bool
) -> None:
    folder = models.small_sd15(tmp_path / "small")
    specs = (spec(demo().source), catalogue.specs(str(folder), str(tmp_path), "")[0])
    names = [one.profile.name for one in specs]
    seen.clear()
    made = Counted("cpu", "fp32", str(tmp_path), "", lambda _, __: None)
    manager = ModelManager(specs, made, Quiet())
    ends, encoder = Ends(), ImageEncoder()
    executor = StepExecutor(manager, ends, encoder, made.device)
    # A picture of the demo takes 74.6 MB of the nine tenths that a plan uses, and the other one's weights 2.6 MB.
    if not room:
        monkeypatch.setattr(
            probe, "host_free", lambda: 84_000_000 - sum(m.memory.held("cpu") for m in manager._others("") if m.memory)
        )
    for number in range(6):
        recipe = Recipe("a", names[number % 2], "a red cat", "", 64, 64, 2, 0.0, number)
        executor.add([RequestState(number, recipe)])
        while len(executor):
            executor.step()
    encoder.close()
    assert all(isinstance(end, Image) for end in ends.ends.values()), ends.ends
    if room:
        assert seen == [f"+{name}" for name in names]
        assert set(manager.resident) == set(names)
    else:
        assert len(manager.resident) == 1
        assert seen.count(f"+{names[0]}") == 3
