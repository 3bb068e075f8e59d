from __future__ import annotations

import torch
from torch import Tensor

from engine.diffusion.prompts import Prompts
from tests.unit.engine.diffusion.test_batch import Toy


def test_the_last_ones_are_remembered() -> None:
    toy = Toy()
    prompts = Prompts(toy, kept=2)
    for prompt in ("a", "b", "a", "c", "a", "b"):
        found = prompts.embed(prompt)
        assert isinstance(found, Tensor)
    assert toy.encoded == ["a", "b", "c", "b"]
    assert torch.equal(prompts.embed("b"), prompts.embed("b"))
