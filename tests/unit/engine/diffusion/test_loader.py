from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.catalogue import demo
from engine.contract import UnknownModel
from engine.diffusion.loader import CantLoad, Loader
from tests.fakes import models

pytestmark = pytest.mark.slow


def loader(source: str | Path) -> Loader:
    return Loader(str(source), "z_image", "cpu", "auto")


def test_from_a_folder_to_a_warm_painter() -> None:
    here = loader(demo().source)
    folder = here.fetch("nowhere", lambda _, __: pytest.fail("a folder needs no download"))
    pixels, seconds = here.warm(here.load(folder), 64, 8)
    assert pixels == 64 * 64
    assert seconds > 0
    assert (here.title, here.precision, here.on_cpu) == ("cpu", "fp32", True)


@pytest.mark.parametrize("part", ["transformer", "text_encoder", "vae"])
def test_a_file_that_ends_in_the_middle(part: str, tmp_path: Path) -> None:
    folder = models.cut_short(tmp_path / "model", part)
    with pytest.raises(CantLoad, match="can't be loaded, copy it again") as caught:
        loader(folder).load(str(folder))
    assert isinstance(caught.value.error, UnknownModel)
    assert not caught.value.passing
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("damage", [models.pickled, models.coded])
def test_neither_pickles_nor_code_are_run(damage: Callable[[Path, Path], Path], tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    folder = damage(tmp_path / "model", trap)
    with pytest.raises(CantLoad, match="can't be loaded"):
        loader(folder).load(str(folder))
    assert not trap.exists()


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(CantLoad, match="EASEL_DEVICE is cuda:77"):
        Loader(demo().source, "z_image", "cuda:77", "auto")


def test_what_cannot_even_be_warmed_is_not_loaded(tmp_path: Path) -> None:
    folder = models.poisoned(tmp_path / "model", word="<|im_start|>")
    here = loader(folder)
    with pytest.raises(CantLoad, match="overflowed in fp32"):
        here.warm(here.load(str(folder)), 64, 8)
