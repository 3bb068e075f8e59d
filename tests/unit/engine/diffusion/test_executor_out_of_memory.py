"""Requests that memory runs out for before their first step: they begin again with all that they were given."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image as Pillow

from engine.contract import Image
from engine.diffusion.executor import StepExecutor
from engine.diffusion.image_encoder import ImageEncoder
from engine.diffusion.request_state import RequestState
from tests.unit.engine.diffusion.toy import TOY, Ends, OneModel, Toy


class Short:
    """An upscaler that enlarges twofold, and that memory runs out for in its first picture, before or after a tile."""

    digest = "short"

    def __init__(self, tiles: int) -> None:
        self.tiles = tiles
        self.calls = 0

    def upscale(self, picture: Pillow.Image) -> Generator[None, None, Pillow.Image]:
        self.calls += 1
        for _ in range(self.tiles):
            yield
        if self.calls == 1:
            raise MemoryError
        return picture.resize((picture.width * 2, picture.height * 2))


@pytest.mark.parametrize("tiles", [0, 2])
def test_the_picture_to_start_from_is_read_again_when_another_model_has_made_room(tmp_path: Path, tiles: int) -> None:
    Pillow.new("RGB", (4, 4), "red").save(tmp_path / "a.png")
    toy, ends, encoder, short = Toy(), Ends(), ImageEncoder(), Short(tiles)
    executor = StepExecutor(OneModel({"fp32": toy}, rooms=1), ends, encoder, torch.device("cpu"), upscaler=short)
    executor.add([RequestState(1, replace(TOY, image=str(tmp_path / "a.png"), strength=0.5))])
    while len(executor):
        executor.step()
    encoder.close()
    assert isinstance(ends.ends[1], Image), ends.ends[1]
    (start,) = toy.starts
    assert start is not None, "it was drawn from noise"
    assert (start.upscaler, short.calls) == ("short", 2)
