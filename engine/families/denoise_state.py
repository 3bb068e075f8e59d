"""A picture on its way, and what it is made from: prompts as a model reads them, a picture to start from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.contract import Recipe


@dataclass(frozen=True, slots=True)
class Embedding:
    """A prompt as its model reads it.

    Attributes:
        tensors: What the family's ``forward`` takes; the first is (tokens, channels), without padding.
        cut: The prompt was longer than the model reads, and its end was left out.
    """

    tensors: tuple[Tensor, ...]
    cut: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return sum(t.nbytes for t in self.tensors)


@dataclass(frozen=True, slots=True)
class InitImage:
    """A picture to start from.

    Attributes:
        pixels: (height, width, 3), 0 to 255, of the recipe's size.
        mask: (height, width), 0 (stays) to 1 (is drawn anew); None: everything is.
        upscaler: Digest of the model that enlarged it; empty where none did.
    """

    pixels: NDArray[np.uint8]
    mask: NDArray[np.float32] | None = None
    upscaler: str = ""


@dataclass(slots=True, eq=False)
class DenoiseState:
    """One picture on its way.

    Attributes:
        recipe: What it shall be.
        prompt: What it shall show.
        negative: What it is kept away from; None where its guidance uses none.
        scheduler: Its own.
        times: Timesteps that it goes through, on the CPU; fewer than ``recipe.steps`` when it starts from a picture.
        generator: Its own, for schedulers that add noise.
        latents: (1, channels, height / 8, width / 8), float32.
        noise: What it began from, of the same shape.
        start: The picture that it starts from.
        kept: That picture's latents where a mask keeps a part of it.
        mask: (1, 1, height / 8, width / 8) of that mask.
        done: Steps that it has gone.
        cached: One in so many of them is computed in its middle; 0: all were so far.
        past: Timestep and prediction of the last two that were; empty where none will be guessed.
        clean: What the last step took the finished latents to be; kept for previews alone.
        looked: Somebody looks, so that ``clean`` is worth keeping.
    """

    recipe: Recipe
    prompt: Embedding
    negative: Embedding | None
    scheduler: Any
    times: Tensor
    generator: torch.Generator
    latents: Tensor
    noise: Tensor
    start: InitImage | None = None
    kept: Tensor | None = None
    mask: Tensor | None = None
    done: int = 0
    cached: int = 0
    past: tuple[tuple[float, Tensor], ...] = ()
    clean: Tensor | None = None
    looked: bool = False

    @property
    def steps(self) -> int:
        """Steps in all."""
        return len(self.times)

    @property
    def over(self) -> bool:
        """Whether no step is left."""
        return self.done >= self.steps
