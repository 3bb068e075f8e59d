"""What every family of models offers to the batch: encode a prompt, denoise rows together, decode one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

AfterStep = Callable[[int], Sequence[int]]
"""Called with the number of the step that is done (1-based); returns the indices of the rows that go on."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is denoised together.

    Attributes:
        prompts: One embedding a row.
        negatives: One embedding a row; empty when guidance does not use any.
        seeds: One a row, 0 to 2**63 - 1.
        width: Pixels.
        height: Pixels.
        steps: Denoising steps.
        guidance: Guidance scale.
    """

    prompts: Sequence[Tensor]
    negatives: Sequence[Tensor]
    seeds: Sequence[int]
    width: int
    height: int
    steps: int
    guidance: float


class Family(Protocol):
    """A loaded pipeline on its device."""

    def guided(self, guidance: float) -> bool:
        """Whether this guidance scale needs the embedding of what to stay away from."""

    def encode(self, prompt: str) -> Tensor:
        """Return the embedding of one prompt, without padding."""

    def denoise(self, plan: Plan, after_step: AfterStep) -> dict[int, Tensor]:
        """Return the final latents, (1, channels, height / 8, width / 8), of the rows that stayed to the end."""

    def decode(self, latents: Tensor) -> NDArray[np.float32]:
        """Return the picture as (height, width, 3), 0 to 1; not finite where the numbers overflowed."""
