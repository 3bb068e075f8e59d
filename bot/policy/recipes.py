"""From a checked request to the recipes of its pictures, and to the requests that buttons make of it."""

from __future__ import annotations

import random
from dataclasses import replace

from bot.model.requests import DrawRequest
from engine.contract import Recipe

MAX_SEED = 2**63 - 1
"""Largest seed: what SQLite and torch hold in a signed integer."""

_DRAWN_BELOW = 2**32
"""Seeds that Easel draws stay below this: short to read, and exact everywhere."""


def draw_seed(rng: random.Random) -> int:
    """Return a new seed, 0 to 2**32 - 1."""
    return rng.randrange(_DRAWN_BELOW)


def seed_of(request: DrawRequest, index: int) -> int:
    """Return the seed of picture ``index`` (0-based); after the largest seed comes 0."""
    return (request.seed + index) % (MAX_SEED + 1)


def recipes_of(job_id: int, request: DrawRequest) -> tuple[Recipe, ...]:
    """Return one recipe for each picture; their ids are ``<job id>:<index>``."""
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
        )
        for index in range(request.count)
    )


def batch_key(request: DrawRequest) -> tuple[str | int | float, ...]:
    """Return what is equal for requests that the engine can draw in one batch."""
    return request.model, request.width, request.height, request.steps, request.guidance


def reroll(request: DrawRequest, rng: random.Random) -> DrawRequest:
    """Return the same request with a new seed."""
    seed = draw_seed(rng)
    while seed == request.seed:
        seed = draw_seed(rng)
    return replace(request, seed=seed)


def from_seed(request: DrawRequest, index: int) -> DrawRequest:
    """Return the request that draws from picture ``index``'s seed upward: that picture again, then its neighbours.

    It asks for as many pictures as the first one did, and for 2 at least.
    """
    return replace(request, seed=seed_of(request, index), count=max(2, request.count))
