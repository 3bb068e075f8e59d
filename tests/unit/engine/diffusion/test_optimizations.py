"""What is quicker must not change what is drawn, and what does not work here is left out."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ZImagePipeline

from engine.catalogue import demo
from engine.contract import Recipe
from engine.diffusion import optimizations
from engine.families.z_image.model import ZImage

pytestmark = pytest.mark.slow

RED = Recipe("a", "demo", "a red apple on a blue background", "", 64, 64, 2, 0.0, 5)


@pytest.fixture(scope="module")
def model() -> ZImage:
    pipe: Any = ZImagePipeline.from_pretrained(demo().source, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return ZImage(pipe, torch.device("cpu"))


def drawn(model: ZImage) -> np.ndarray[Any, np.dtype[np.float32]]:
    drawing = model.begin(RED, model.encode(RED.prompt), None)
    while not drawing.over:
        model.step([drawing])
    return model.finish(drawing)


def test_another_layout_is_the_same_picture(model: ZImage) -> None:
    before = drawn(model)
    optimizations.arrange(model)
    assert np.abs(drawn(model) - before).max() <= 1 / 255


def test_blocks_are_compiled_and_draw_the_same(model: ZImage) -> None:
    before = drawn(model)
    # "eager" goes the whole way through torch.compile but for the C++ compiler, which takes half a minute.
    assert optimizations.compile_blocks(model, "eager", RED)
    assert any(module._compiled_call_impl is not None for module in model.denoiser.modules())
    assert np.abs(drawn(model) - before).max() <= 1 / 255
    optimizations._undo(model.denoiser)


def test_a_backend_that_is_not_here_is_left_out(model: ZImage, caplog: pytest.LogCaptureFixture) -> None:
    before = drawn(model)
    with caplog.at_level(logging.WARNING):
        assert not optimizations.compile_blocks(model, "no_such_backend", RED)
    assert "EASEL_COMPILE=no_such_backend does not work here" in caplog.text
    assert np.array_equal(drawn(model), before)
