from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.catalogue import demo
from engine.contract import EngineError, Image, OutOfMemory, UnknownModel
from engine.diffusion.encode import Encoder
from engine.diffusion.keeper import CantLoad, Keeper, Loaded
from engine.diffusion.loader import Loader, warm_recipe
from engine.diffusion.memory import abilities
from engine.diffusion.painter import Painter
from engine.diffusion.rows import Row
from engine.spec import ModelSpec
from tests.fakes import models
from tests.unit.engine.diffusion.toy import Ends

pytestmark = pytest.mark.slow


class Quiet:
    """Tells nobody."""

    def loading(self, spec: ModelSpec) -> None:
        """Nothing."""

    def loaded(self, loaded: Loaded, seconds: float) -> None:
        """Nothing."""


def loader(device: str = "cpu") -> Loader:
    return Loader(device, "auto", "nowhere", "", lambda _, __: pytest.fail("a folder needs no download"))


def spec(folder: str | Path) -> ModelSpec:
    return ModelSpec(replace(demo(), source=str(folder)))


def end(made: Loader, of: ModelSpec) -> Image | EngineError:
    """Draw the throw-away picture and return its end."""
    ends, encoder = Ends(), Encoder()
    painter = Painter(Keeper([of], made, Quiet()), ends, encoder, made.device)
    painter.add([Row(1, replace(warm_recipe(of), width=64, height=64))])
    while len(painter):
        painter.turn()
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


def test_what_is_kept_for_something_else_is_not_planned_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abilities, "host_free", lambda: 10**12)
    here = loader()
    here.kept = 10**12 - 10**6
    with pytest.raises(CantLoad) as caught:
        here.load(spec(demo().source), "")
    assert isinstance(caught.value.error, OutOfMemory)
    here.kept = 0
    assert here.load(spec(demo().source), "").precision == "fp32"


@pytest.mark.parametrize("part", ["transformer", "text_encoder", "vae"])
def test_a_file_that_ends_in_the_middle(part: str, tmp_path: Path) -> None:
    folder = models.cut_short(tmp_path / "model", part)
    with pytest.raises(CantLoad) as caught:
        loader().load(spec(folder), "")
    assert isinstance(caught.value.error, UnknownModel)
    assert not caught.value.passing
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("damage", [models.pickled, models.coded])
def test_neither_pickles_nor_code_are_run(damage: Callable[[Path, Path], Path], tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    folder = damage(tmp_path / "model", trap)
    with pytest.raises(CantLoad):
        loader().load(spec(folder), "")
    assert not trap.exists()


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(CantLoad, match="EASEL_DEVICE is cuda:77"):
        loader("cuda:77")


def test_what_cannot_even_be_warmed_fails(tmp_path: Path) -> None:
    folder = models.poisoned(tmp_path / "model", word="<|im_start|>")
    found = end(loader(), spec(folder))
    assert isinstance(found, EngineError)
    assert "overflowed in fp32" in str(found)


def test_it_draws_on_one_device() -> None:
    assert loader().device == torch.device("cpu")
