"""`easel draw --control` from the outside: a small model and a ControlNet of models.toml, to a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.e2e.service import easel
from tests.fakes import controlnets, models, pipelines
from tests.fakes.png_texts import read_texts

pytestmark = pytest.mark.slow

TABLES = """
[small]
source = "model"

[control.edges]
kind = "canny"
source = "edges"

[control.other]
kind = "depth"
source = "edges"
family = "sdxl"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("controlled")
    data = root / "data"
    models.small_sd15(data / "model")
    controlnets.controlnet(pipelines.load(data / "model"), data / "edges")
    (data / "models.toml").write_text(TABLES)
    picture = Image.new("RGB", (64, 64), "navy")
    picture.paste((255, 200, 0), (16, 16, 48, 48))
    picture.save(root / "f.png")
    return root


def draw(folder: Path, *more: str) -> tuple[int, str]:
    env = {"EASEL_MODEL": "small", "EASEL_DATA_DIR": "data", "OMP_NUM_THREADS": "2"}
    done = easel("draw", "a red cat", "--seed", "7", "--steps", "3", *more, cwd=folder, env=env)
    return done.returncode, done.stderr


def pixels(path: Path) -> NDArray[np.float64]:
    return np.asarray(Image.open(path)).astype(float)


def test_a_picture_follows_the_edges_of_another(folder: Path) -> None:
    assert draw(folder, "--image", "f.png", "--control", "canny", "-o", "led.png") == (0, "")
    assert draw(folder, "-o", "free.png") == (0, "")
    assert np.abs(pixels(folder / "led.png") - pixels(folder / "free.png")).mean() > 1
    said = read_texts((folder / "led.png").read_bytes())["parameters"]
    assert 'ControlNet 0: "Module: canny, Model: canny, Weight: 1,' in said


def test_one_of_another_family_is_left_out_of_the_kinds(folder: Path) -> None:
    code, err = draw(folder, "--image", "f.png", "--control", "depth", "-o", "no.png")
    assert code == 2
    assert "has no ControlNet of the kind “depth”; choose one of canny." in err.splitlines()[-1]
    assert not (folder / "no.png").exists()


def test_what_is_left_out_is_said_at_the_start_and_by_the_doctor(folder: Path) -> None:
    done = easel("doctor", cwd=folder, env={"EASEL_MODEL": "small", "EASEL_DATA_DIR": "data"})
    (line,) = [line for line in done.stdout.splitlines() if "[control.other]" in line]
    assert "is made for Stable Diffusion 1.5, not for SDXL" in line
