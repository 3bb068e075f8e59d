from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine import catalogue
from engine.contract import Honour, Profile, Recipe, UnknownModel
from tests.fakes import models


def test_demo_needs_no_network_and_is_here() -> None:
    profile = catalogue.profile_for("demo")
    assert (Path(profile.source) / "model_index.json").is_file()
    assert profile.presets == {
        "square": (192, 192),
        "portrait": (160, 224),
        "landscape": (224, 160),
        "tall": (144, 256),
        "wide": (256, 144),
    }
    assert profile.negative is Honour.WITH_GUIDANCE


@pytest.mark.parametrize("name", ["Tongyi-MAI/Z-Image-Turbo", "tongyi-mai/z-image-turbo", "z-image-turbo"])
def test_turbo_by_its_hub_id_or_name(name: str) -> None:
    profile = catalogue.profile_for(name)
    assert profile.title == "Z-Image-Turbo"
    assert (profile.steps.default, profile.guidance.high, profile.negative) == (8, 0.0, Honour.NEVER)


@pytest.mark.parametrize("profile", [catalogue.demo(), catalogue.z_image_turbo()], ids=lambda p: p.name)
def test_presets_are_of_one_area_and_on_the_grid(profile: Profile) -> None:
    area = profile.side.default**2
    for width, height in profile.presets.values():
        assert width % profile.multiple == height % profile.multiple == 0
        assert width * height == pytest.approx(area, rel=0.05)


def test_a_folder_says_its_own_size(tmp_path: Path) -> None:
    profile = catalogue.profile_for(str(models.copy(tmp_path / "My Model!")))
    assert (profile.name, profile.title, profile.family) == ("my-model", "My Model!", "z_image")
    assert (profile.side.low, profile.side.default, profile.side.high) == (96, 192, 384)
    assert Path(profile.source).is_absolute()


def test_a_strange_size_is_not_believed(tmp_path: Path) -> None:
    folder = models.copy(tmp_path / "model")
    config = folder / "vae" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "sample_size": "huge"}))
    assert catalogue.profile_for(str(folder)).side.default == 1024


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownModel, match=r"'no/such'.*demo, Tongyi-MAI/Z-Image-Turbo"):
        catalogue.profile_for("no/such")


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=r"holds no model_index\.json"):
        catalogue.profile_for(str(tmp_path))


@pytest.mark.parametrize("text", ["{", "[]", "\udc80"])
def test_a_damaged_index(tmp_path: Path, text: str) -> None:
    (tmp_path / "model_index.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(UnknownModel, match=r"model_index\.json.*copy the model again"):
        catalogue.profile_for(str(tmp_path))


@pytest.mark.parametrize("named", ["FluxPipeline", ["pipeline.py", "Mine"], None])
def test_a_class_that_nobody_here_draws_with(tmp_path: Path, named: object) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": named}))
    with pytest.raises(UnknownModel, match="can't draw with; it can with ZImagePipeline"):
        catalogue.profile_for(str(tmp_path))


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    folder = models.copy(tmp_path / "model")
    for file in (folder / "tokenizer").iterdir():
        file.unlink()
    (folder / "tokenizer").rmdir()
    with pytest.raises(UnknownModel, match="'tokenizer' is missing"):
        catalogue.profile_for(str(folder))


@pytest.mark.parametrize(("side", "expected"), [(0, 8), (64, 8), (192, 8), (512, 4), (768, 1), (1024, 1), (4096, 1)])
def test_how_many_are_worth_drawing_together(side: int, expected: int) -> None:
    assert catalogue.batch(Recipe("a", "demo", "", "", side, side, 8, 0.0, 0)) == expected
