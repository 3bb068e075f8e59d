"""The operator's models for texts: small captioners of both classes, and what a bad folder gives."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isfunction
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image as Pillow
from transformers import StoppingCriteriaList

from engine.contract import BadImage, CannotWrite, EngineConfig, UnknownModel
from engine.diffusion.text_models import TextModels
from tests.fakes import text_models

CPU = torch.device("cpu")


def models(text: Path | str = "", caption: Path | str = "", beat: Callable[[], None] = lambda: None) -> TextModels:
    config = EngineConfig("demo", "nowhere", text_model=str(text), caption_model=str(caption))
    return TextModels(config, CPU, beat)


def picture(path: Path) -> str:
    Pillow.linear_gradient("L").convert("RGB").save(path)
    return str(path)


@pytest.mark.parametrize("build", [text_models.blip, text_models.vit_gpt2])
def test_a_captioner_describes_and_ends_when_nobody_wants_it(tmp_path: Path, build: Callable[[Path], Path]) -> None:
    beats = list[str]()
    made = models(caption=build(tmp_path / "model"), beat=lambda: beats.append("beat"))
    path = picture(tmp_path / "a.png")
    text = made.describe(path, lambda: False)
    assert text
    beats.clear()
    assert made.describe(path, lambda: False) == text
    assert len(beats) > 1, "the process does not look as if it hung"
    assert len(made.describe(path, lambda: True)) < len(text)
    with pytest.raises(BadImage):
        made.describe(str(tmp_path / "none.png"), lambda: False)


def test_a_description_is_stopped_on_the_device_of_its_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, asked, compute = (
        models(caption=text_models.vit_gpt2(tmp_path / "model")),
        list[str](),
        StoppingCriteriaList.__call__,
    )

    def elsewhere(self: StoppingCriteriaList, ids: torch.Tensor, scores: Any, **more: Any) -> Any:
        ours = StoppingCriteriaList(filter(isfunction, self))
        asked.append(compute(ours, ids.to("meta"), scores, **more).device.type)
        return compute(self, ids, scores, **more)

    monkeypatch.setattr(StoppingCriteriaList, "__call__", elsewhere)
    assert made.describe(picture(tmp_path / "a.png"), lambda: False)
    assert set(asked) == {"meta"}


def test_a_language_model_is_loaded_on_first_use_and_unloaded(tmp_path: Path) -> None:
    made = models(text=text_models.writer(tmp_path / "model"))
    assert made.writes
    assert made.nbytes > 4 * 2000 * 32
    states = [made.loaded]
    assert made.writer() is made.writer()
    states.append(made.loaded)
    made.unload()
    assert [*states, made.loaded] == [False, True, False]


def test_without_settings_there_is_nothing(tmp_path: Path) -> None:
    made = models()
    assert (made.writes, made.nbytes, made.loaded) == (False, 0, False)
    with pytest.raises(CannotWrite, match="EASEL_CAPTION_MODEL"):
        made.describe(picture(tmp_path / "a.png"), lambda: False)


def test_a_folder_that_can_t_be_loaded_is_named_with_its_setting(tmp_path: Path) -> None:
    folder = text_models.writer(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(CannotWrite, match="EASEL_TEXT_MODEL"):
        models(text=folder).writer()
    with pytest.raises(UnknownModel, match="EASEL_TEXT_MODEL"):
        _ = models(text=tmp_path / "missing").nbytes
    with pytest.raises(CannotWrite, match="EASEL_CAPTION_MODEL"):  # no captioner
        models(caption=text_models.writer(tmp_path / "other")).describe(picture(tmp_path / "a.png"), lambda: False)
