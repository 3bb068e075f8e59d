"""What the child's worker is put together from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.contract import EngineConfig, EngineError, UnknownModel
from engine.diffusion.loader import Loader
from engine.diffusion.model_manager import LoadedModel, LoadError
from engine.families.batched import BatchedFamily
from engine.families.z_image.spec import demo
from engine.host import wire, worker
from engine.host.inbox import Inbox
from engine.spec import ModelSpec
from tests.fakes import upscalers
from tests.unit.engine.diffusion.toy import Toy

BYTES = 4 * (3 + 3 + 2)
"""What ``upscalers.write`` writes: scale, reach and noise, three numbers of colour, purpose and tiling; each in fp32."""


def kept(monkeypatch: pytest.MonkeyPatch, upscaler: str) -> int:
    """Return the bytes that are kept from the models; raises LoadError."""
    found: list[int] = []

    def loader(*_: Any, **given: Any) -> None:
        found.append(given["reserved"])
        raise LoadError(EngineError("that is enough"))

    monkeypatch.setattr(worker, "Loader", loader)
    setup = wire.Setup((ModelSpec(demo()),), EngineConfig("demo", "nowhere", "cpu", "auto", upscaler=upscaler))
    with pytest.raises(LoadError) as caught:
        worker.Worker(setup, lambda _: None, Inbox())
    if not found:
        raise caught.value
    return found[0]


def test_what_the_upscaler_takes_is_kept_from_the_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = upscalers.write(tmp_path / "up.safetensors")
    assert kept(monkeypatch, str(file)) == BYTES
    assert kept(monkeypatch, "") == 0
    file.unlink()
    with pytest.raises(LoadError) as caught:
        kept(monkeypatch, str(file))
    assert isinstance(caught.value.error, UnknownModel)
    assert str(caught.value.error).startswith("EASEL_UPSCALER")


def test_a_model_that_loads_and_cannot_draw_is_named_without_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(*_: Any, **__: Any) -> None:
        raise RuntimeError("shape '[1, 64]' is invalid for input of size 128")

    monkeypatch.setattr(BatchedFamily, "step", step)
    setup = wire.Setup((ModelSpec(demo()),), EngineConfig("demo", "nowhere", "cpu", "fp32"))
    with pytest.raises(LoadError) as caught:
        worker.Worker(setup, lambda _: None, Inbox())
    assert isinstance(caught.value.error, UnknownModel)
    assert str(caught.value.error).startswith(f"{demo().title} was loaded and can't draw: ")
    assert "shape" not in str(caught.value.error)


def test_after_a_download_for_a_model_that_cannot_be_loaded_the_one_in_use_is_warm_again() -> None:
    said: list[wire.Message] = []
    news = worker._LoadReporter(said.append, Loader("cpu", "auto", "nowhere", "", lambda _, __: None))
    loaded = LoadedModel(ModelSpec(demo()), Toy(), "fp32", "a plan", "c0ffee")
    news.on_loading(loaded.spec)
    news.on_loaded(loaded, 1.0)
    news.announce(64, 0.1)
    said.clear()
    news.on_load_failed(loaded, "xl can't be loaded.")
    assert said == [wire.Notice("xl can't be loaded.")], "nothing had changed"
    news.downloading(1, 2)
    news.on_load_failed(loaded, "xl can't be loaded.")
    assert [type(m) for m in said[1:]] == [wire.Downloading, wire.Warm, wire.Notice]
    news.on_load_failed(None, "nothing is loaded.")
    end = said[-1]
    assert isinstance(end, wire.Idle)
    assert end.problem == "nothing is loaded."
