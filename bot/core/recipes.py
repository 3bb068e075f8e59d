"""From a checked request to the recipes of its pictures, and to the requests that buttons make of it."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from bot.core.requests import DrawRequest
from engine.contract import Profile, Recipe

MAX_SEED = 2**63 - 1
"""Largest seed: what SQLite and torch hold in a signed integer."""

VARIATION = 0.25
"""How much of the noise a variation takes from another seed: small enough to know the picture again."""

UPSCALE = 2.0
"""How many times as wide a picture becomes."""

UPSCALE_STRENGTH = 0.35
"""Enough to draw details that the small picture had no room for, too little to change what it shows."""

_DRAWN_BELOW = 2**32
"""Seeds that Easel draws stay below this: short to read, and exact everywhere."""


def new_seed(rng: random.Random) -> int:
    """Return a new seed, 0 to 2**32 - 1."""
    return rng.randrange(_DRAWN_BELOW)


def seed_of(request: DrawRequest, index: int) -> int:
    """Return the seed of picture ``index`` (0-based); after the largest seed comes 0. Variations share theirs."""
    return request.seed if request.variation else _after(request.seed, index)


def variation_seed_of(request: DrawRequest, index: int) -> int:
    """Return the other seed of picture ``index`` (0-based); 0 where it is no variation."""
    return _after(request.variation_seed, index) if request.variation else 0


def recipes_of(job_id: int, request: DrawRequest, data: Path | None = None) -> tuple[Recipe, ...]:
    """Return one recipe for each picture; their ids are ``<job id>:<index>``.

    Args:
        job_id: The job.
        request: What is asked for.
        data: The folder that the names of files to start from are relative to.
    """
    image, mask = (str((data or Path()) / name) if name else "" for name in (request.image, request.mask))
    return tuple(
        Recipe(
            id=f"{job_id}:{index}",
            model=request.model,
            prompt=request.prompt,
            negative=request.negative,
            width=request.width,
            height=request.height,
            steps=request.steps,
            guidance=request.guidance,
            seed=seed_of(request, index),
            image=image,
            mask=mask,
            strength=request.strength,
            variation=request.variation,
            variation_seed=variation_seed_of(request, index),
        )
        for index in range(request.count)
    )


def batch_key(request: DrawRequest) -> tuple[str | int | float, ...]:
    """Return what is equal for requests that the engine can draw in one batch."""
    return request.model, request.width, request.height, steps_of(request), request.guidance


def steps_of(request: DrawRequest) -> int:
    """Return how many steps are really taken: a start from a picture skips those that would have led to it."""
    return max(1, int(request.steps * request.strength)) if request.image else request.steps


def reroll(request: DrawRequest, rng: random.Random) -> DrawRequest:
    """Return the same request with a new seed; of variations, with other ones around the same seed."""
    if request.variation:
        return replace(request, variation_seed=_other_seed(request.variation_seed, rng))
    return replace(request, seed=_other_seed(request.seed, rng))


def from_seed(request: DrawRequest, index: int) -> DrawRequest:
    """Return the request that draws from picture ``index``'s seed upward: that picture again, then its neighbours.

    It asks for as many pictures as the first one did, and for 2 at least. Of a variation, the other seed counts upward.
    """
    return replace(
        request,
        seed=seed_of(request, index),
        variation_seed=variation_seed_of(request, index),
        count=max(2, request.count),
    )


def vary(request: DrawRequest, index: int, rng: random.Random) -> DrawRequest:
    """Return the request for small changes of picture ``index``: around its seed, each towards a seed of its own.

    It asks for as many pictures as the first one did, and for 2 at least. Those of a variation are around the same seed.
    """
    return replace(
        request,
        seed=seed_of(request, index),
        count=max(2, request.count),
        variation=VARIATION,
        variation_seed=_other_seed(request.variation_seed, rng),
    )


def upscale(request: DrawRequest, index: int, image: str, size: tuple[int, int]) -> DrawRequest:
    """Return the request that draws picture ``index`` again from its own file, larger: the same prompt, the same seed.

    Args:
        request: What the picture was drawn by.
        index: Which of its pictures.
        image: The picture's file, relative to the data folder.
        size: As ``upscaled`` gives it.
    """
    return replace(
        request,
        width=size[0],
        height=size[1],
        seed=seed_of(request, index),
        count=1,
        image=image,
        mask="",
        strength=UPSCALE_STRENGTH,
        variation=0.0,
        variation_seed=0,
        upscale=size[0] / request.width,
    )


def upscaled(width: int, height: int, profile: Profile) -> tuple[int, int] | None:
    """Return twice the sides, or the most that the model's limits and grid allow; None when nothing larger is."""
    factor = min(UPSCALE, profile.side.high / width, profile.side.high / height)
    larger = tuple(int(side * factor + 1e-6) // profile.multiple * profile.multiple for side in (width, height))
    return (larger[0], larger[1]) if larger[0] > width and larger[1] > height else None


def _after(seed: int, index: int) -> int:
    return (seed + index) % (MAX_SEED + 1)


def _other_seed(seed: int, rng: random.Random) -> int:
    other = new_seed(rng)
    while other == seed:
        other = new_seed(rng)
    return other
