"""The noise that a picture begins from: the same for the same seed on every machine."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.contract import Recipe

_PARALLEL = 1 - 1e-6
"""Cosine above which two noises have no plane between them to turn in."""


def noise_of(recipe: Recipe, shape: tuple[int, ...]) -> tuple[Tensor, torch.Generator]:
    """Return the noise of a recipe, float32 on the CPU, and its generator behind it."""
    # Drawn on the CPU, whatever the device: the same seed is the same picture on every machine, near enough.
    generator = torch.Generator("cpu").manual_seed(recipe.seed)
    noise = torch.randn(shape, generator=generator)
    if recipe.variation > 0:
        other = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(recipe.variation_seed))
        noise = slerp(noise, other, recipe.variation)
    return noise, generator


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Return the point ``share`` (0 to 1) of the way from a to b on the great circle through both.

    A straight line would pass through shorter vectors, which no noise is (Shoemake 1985; A1111 varies seeds so).
    """
    cosine = torch.dot(a.flatten(), b.flatten()) / (a.norm() * b.norm())
    if abs(float(cosine)) > _PARALLEL:
        return a + share * (b - a)
    angle = torch.acos(cosine)
    return (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)
