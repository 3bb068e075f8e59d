"""The small pipelines themselves: they load from disk, their seed decides their weights, the prompt their pictures."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.fakes.small_pipelines import SMALL_PIPELINES, SmallPipeline
from tests.fakes.small_pipelines.plain import drawn_plainly, load_plainly

pytestmark = pytest.mark.slow

STEP = 1 / 255
"""The smallest difference that a stored picture keeps."""

EDITING = [name for name, small in SMALL_PIPELINES.items() if small.references]

Picture = NDArray[np.float32]


@pytest.fixture(scope="module", params=SMALL_PIPELINES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def small(name: str) -> SmallPipeline:
    found = SMALL_PIPELINES[name]
    if found.package:
        pytest.importorskip(found.package)
    return found


@pytest.fixture(scope="module")
def pipe(name: str, small: SmallPipeline, tmp_path_factory: pytest.TempPathFactory) -> Any:
    pipe = load_plainly(small.build(tmp_path_factory.mktemp("small") / name, 0), small)
    assert type(pipe).__name__ == name
    return pipe


@pytest.fixture(scope="module")
def references() -> list[Image.Image]:
    picture = Image.effect_mandelbrot((64, 64), (-2, -1, 1, 1), 30).convert("RGB")
    return [picture, picture.transpose(Image.Transpose.ROTATE_90)]


@pytest.fixture(scope="module")
def plain(pipe: Any, small: SmallPipeline, references: list[Image.Image]) -> Picture:
    return drawn_plainly(pipe, small, "a red cat", references=references[: small.needs_reference])


def apart(a: Picture, b: Picture) -> float:
    return float(np.abs(a - b).max())


def test_the_prompt_decides_the_picture_and_each_step_is_reported(
    pipe: Any, small: SmallPipeline, plain: Picture, references: list[Image.Image]
) -> None:
    steps: list[int] = []

    def done(_: Any, step: int, __: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        steps.append(step)
        return tensors

    calls_back = "callback_on_step_end" in inspect.signature(pipe.__call__).parameters
    more: dict[str, Any] = {"callback_on_step_end": done} if calls_back else {}
    given = references[: small.needs_reference]
    other = drawn_plainly(pipe, small, "blue dog ball", references=given, **more)
    assert np.isfinite(other).all()
    assert apart(other, plain) > STEP
    assert steps == ([0, 1] if calls_back else [])


@pytest.mark.parametrize("name", EDITING, indirect=True, scope="module")
def test_the_reference_decides_the_picture(
    pipe: Any, small: SmallPipeline, plain: Picture, references: list[Image.Image]
) -> None:
    assert apart(drawn_plainly(pipe, small, "a red cat", references=references[1:]), plain) > STEP


def test_the_seed_decides_its_weights(name: str, small: SmallPipeline, tmp_path: Path) -> None:
    def weights(seed: int) -> list[bytes]:
        folder = small.build(tmp_path / name, seed)
        return [file.read_bytes() for file in sorted(folder.rglob("*.safetensors"))]

    assert weights(0) == weights(0) != weights(1)
