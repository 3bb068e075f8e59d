"""Pictures of any pipeline whose call ends for want of memory: they begin again once there is room."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.contract import Image, OutOfMemory, Recipe
from engine.diffusion.executor import StepExecutor
from engine.diffusion.image_encoder import ImageEncoder
from engine.diffusion.request_state import RequestState
from engine.families.generic.model import Generic
from tests.fakes.pipelines import load
from tests.fakes.small_pipelines import SMALL_PIPELINES
from tests.unit.engine.diffusion.toy import Ends, OneModel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

RECIPE = Recipe("a", "small", "a red cat", "", 64, 64, 2, 3.0, 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("flux") / "m"
    SMALL_PIPELINES["FluxPipeline"].build(built, 0)
    return built


@pytest.fixture
def family(folder: Path) -> Iterator[Generic]:
    made = Generic(load(folder), torch.device("cpu"))
    yield made
    made.close()


def run_short(module: Any, method: str, times: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let memory run out in the first calls of a method; return a list that counts its calls."""
    compute, calls = getattr(module, method), list[int]()

    def short(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) <= times:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return compute(*args, **kwargs)

    monkeypatch.setattr(module, method, short)
    return calls


def end_of(family: Generic, rooms: int, *others: Recipe) -> object:
    """Draw a picture beside others on a device of two streams; ``rooms`` is how often another model can make room."""
    encoder, ends = ImageEncoder(), Ends()
    models: Any = OneModel({"fp32": family}, rooms=rooms, aside=True)  # type: ignore[dict-item]  # it asks for no toy's abilities
    stream: Any = SimpleNamespace(entered=nullcontext, event=lambda: None)
    executor = StepExecutor(models, ends, encoder, torch.device("cpu"), stream=stream)
    executor.add(RequestState(ticket, recipe) for ticket, recipe in enumerate((RECIPE, *others), 1))
    while len(executor):
        executor.step()
    encoder.close()
    return ends.ends[1]


def place(family: Generic, where: str) -> tuple[Any, str]:
    return (family.pipe.vae, "decode") if where == "decode" else (family.denoiser, "forward")


@pytest.mark.parametrize("where", ["step", "decode"])
def test_where_another_model_makes_room_the_picture_is_the_same(
    family: Generic, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = end_of(family, 0)
    run_short(*place(family, where), 1, monkeypatch)
    found = end_of(family, 1)
    assert isinstance(plain, Image)
    assert isinstance(found, Image), found
    assert found.data == plain.data


@pytest.mark.parametrize("others", [(), (replace(RECIPE, steps=3),)])
def test_a_picture_that_is_too_large_to_decode_is_decoded_in_tiles(
    family: Generic, others: tuple[Recipe, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_short(*place(family, "decode"), 1, monkeypatch)
    found = end_of(family, 0, *others)
    assert isinstance(found, Image), found
    assert family.pipe.vae.use_tiling


@pytest.mark.parametrize("where", ["step", "decode"])
def test_a_picture_that_never_fits_fails(family: Generic, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = run_short(*place(family, where), 100, monkeypatch)
    assert isinstance(end_of(family, 1), OutOfMemory)
    assert len(calls) == (2 if where == "step" else 3), "without and with room, and for decoding in tiles"
