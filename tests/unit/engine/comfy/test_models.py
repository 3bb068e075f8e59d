"""Models that only a workflow draws: the tables of models.toml, and the workflows that belong to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import models_file
from engine.comfy.catalogue import alone, named, workflows
from engine.comfy.models import read_models
from engine.contract import EngineConfig, NegativePromptSupport, Range, UnknownModel

FLUX = """
[comfy.flux-dev]
title = "FLUX.1 dev"
steps = 24
guidance = 1.0
licence = "FLUX.1 [dev] Non-Commercial License"
who = "admins"
"""


def config(folder: Path, text: str) -> EngineConfig:
    file = folder / "models.toml"
    file.write_text(text, encoding="utf-8")
    assert not models_file.read(file).problems, "the tables are no models of this machine"
    return EngineConfig("demo", str(folder), models_file=str(file))


def workflow(folder: Path, name: str, text: str = "") -> Path:
    path = folder / "comfy" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text or Path("engine/comfy/workflows/sdxl.json").read_text(encoding="utf-8"), encoding="utf-8")
    return path


def test_a_table_and_a_workflow_are_a_model(tmp_path: Path) -> None:
    workflow(tmp_path, "flux-dev")
    found = workflows(config(tmp_path, FLUX), tmp_path)
    assert found.problems == ()
    assert list(found.found) == ["flux-dev", "z-image-turbo", "sdxl", "sd15"]
    profile = found.found["flux-dev"].profile
    assert (profile.title, profile.who, profile.family) == ("FLUX.1 dev", ("admins",), "comfyui")
    assert (profile.steps, profile.side) == (Range(24, 1, 50), Range(1024, 512, 2048))
    assert profile.negative is NegativePromptSupport.WITH_GUIDANCE
    assert profile.presets["square"] == (1024, 1024)
    assert profile.cost == pytest.approx(3.0, abs=0.1)
    assert not profile.parameters
    assert next(iter(alone(found, "FLUX-dev").found)) == "flux-dev"
    assert named(found, "flux") is None


def test_a_table_without_a_workflow_is_said(tmp_path: Path) -> None:
    found = workflows(config(tmp_path, FLUX), tmp_path)
    assert list(found.found) == ["z-image-turbo", "sdxl", "sd15"]
    (problem,) = found.problems
    assert problem == f"{tmp_path}/models.toml, [comfy.flux-dev]: put its workflow into {tmp_path}/comfy/flux-dev.json."


def test_a_workflow_without_a_table_is_told_to_have_one(tmp_path: Path) -> None:
    path = workflow(tmp_path, "flux-dev")
    (problem,) = workflows(config(tmp_path, ""), tmp_path).problems
    assert problem.startswith(f"{path}: there is no model 'flux-dev'")
    assert "[comfy.flux-dev]" in problem


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[comfy.x]", "x], title: it must be a text"),
        ("[comfy.x]\ntitle = 5", "title: it must be a text"),
        ("[comfy.x]\ntitle = 'X'\nsteps = 0", "steps: it must be a whole number from 1 to 200"),
        ("[comfy.x]\ntitle = 'X'\nside = 1000\nmultiple = 64", "side: it must be a multiple of 64"),
        ("[comfy.x]\ntitle = 'X'\nmodel = 'a'", "model: there is no such key; there are title, side"),
        ("[comfy.x]\ntitle = 'X'\nguidance = nan", "guidance: it must be a number"),
        ("[comfy.sdxl]\ntitle = 'X'", "there is a model of this name already"),
        ("[comfy.'A B']\ntitle = 'X'", "lower-case letters"),
        ("[comfy]\nx = 5", "a table of its own"),
        ("comfy = 5", "a table of its own"),
    ],
)
def test_a_mistake_in_a_table_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    found, (problem,) = read_models(config(tmp_path, text).models_file, ["sdxl"])
    assert found == ()
    assert said in problem
    assert problem.startswith(f"{tmp_path}/models.toml, [comfy.")


def test_a_file_that_can_t_be_read_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text("[", encoding="utf-8")
    found, (problem,) = read_models(str(file), [])
    assert found == ()
    assert "can't be read as TOML" in problem
    assert read_models("", []) == read_models(str(tmp_path / "none.toml"), []) == ((), ())


def test_where_every_workflow_is_wrong_the_reasons_are_said(tmp_path: Path) -> None:
    for name in ("z-image-turbo", "sdxl", "sd15"):
        workflow(tmp_path, name, "{}")
    found = workflows(config(tmp_path, ""), tmp_path)
    assert found.found == {}
    with pytest.raises(UnknownModel, match=r"z-image-turbo.json.*API format"):
        alone(found, "demo")
