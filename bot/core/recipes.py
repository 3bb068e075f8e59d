"""Recipes of a request's pictures, and the requests that buttons derive from a request."""

from __future__ import annotations

import random
from dataclasses import fields, replace
from pathlib import Path

from bot.core.requests import DrawRequest
from engine.contract import SECOND_ORDER, Profile, Recipe

MAX_SEED = 2**63 - 1
"""Largest seed: the largest signed 64-bit integer, which SQLite and torch can hold."""

VARIATION = 0.25
"""Share of a variation's noise that comes from another seed: small enough that the picture is recognisable."""

UPSCALE = 2.0
"""Factor by which an upscale enlarges width and height."""

UPSCALE_STRENGTH = 0.35
"""Strength of an upscale: it adds detail and keeps the content."""

_DRAWN_BELOW = 2**32
"""Seeds that Easel chooses are below this: short to read, and exact in JavaScript."""


_SHARED = frozenset(f.name for f in fields(Recipe)) & frozenset(f.name for f in fields(DrawRequest))
"""Attributes that a recipe takes from its request by name."""


def new_seed(rng: random.Random) -> int:
    """Return a new seed, 0 to 2**32 - 1."""
    return rng.randrange(_DRAWN_BELOW)


def seed_of(request: DrawRequest, index: int) -> int:
    """Return the seed of picture ``index`` (0-based). It wraps to 0 after the largest seed. Variations share one seed."""
    return request.seed if request.variation else _after(request.seed, index)


def variation_seed_of(request: DrawRequest, index: int) -> int:
    """Return the variation seed of picture ``index`` (0-based); 0 if the request is no variation."""
    return _after(request.variation_seed, index) if request.variation else 0


def recipes_of(job_id: int, request: DrawRequest, data: Path | None = None) -> tuple[Recipe, ...]:
    """Return one recipe for each picture; their ids are ``<job id>:<index>``.

    Args:
        job_id: The job.
        request: Its request.
        data: The data folder, which the names of source files are relative to.
    """
    shared = {name: getattr(request, name) for name in _SHARED}
    folder = data or Path()
    shared |= {name: str(folder / shared[name]) for name in ("image", "mask") if shared[name]}
    shared["references"] = tuple(str(folder / name) for name in request.references)
    return tuple(
        Recipe(
            id=f"{job_id}:{index}",
            **shared | {"seed": seed_of(request, index), "variation_seed": variation_seed_of(request, index)},
        )
        for index in range(request.count)
    )


def batch_key(request: DrawRequest) -> tuple[str | int | float, ...]:
    """Return the key that requests share if the engine can draw them in one batch."""
    return (*share_key(request), evaluations(request, steps_of(request)), request.guidance)


def share_key(request: DrawRequest) -> tuple[str | int | float, ...]:
    """Return the key of requests whose pictures can share steps. Their numbers of steps may differ."""
    loras = ",".join(f"{lora.name}:{lora.weight:g}" for lora in request.loras)
    return request.model, request.width, request.height, len(request.references), loras, request.control


def steps_of(request: DrawRequest) -> int:
    """Return about how many steps are computed; estimates of time and progress use it.

    A source image replaces the first ones, according to ``strength``. The number is rounded down as in SDXL and Stable
    Diffusion; flow-matching pipelines round up, so they may compute one more.
    """
    started = request.image and not request.control
    return max(1, int(request.steps * request.strength)) if started else request.steps


def evaluations(request: DrawRequest, steps: int) -> int:
    """Return how often the denoiser runs for one picture in so many steps of the request's sampler."""
    return 2 * steps - 1 if request.sampler in SECOND_ORDER else steps


def reroll(request: DrawRequest, rng: random.Random) -> DrawRequest:
    """Return the same request with a new seed; a variation keeps its seed and gets a new variation seed."""
    if request.variation:
        return replace(request, variation_seed=_other_seed(request.variation_seed, rng))
    return replace(request, seed=_other_seed(request.seed, rng))


def from_seed(request: DrawRequest, index: int) -> DrawRequest:
    """Return the request that draws picture ``index`` again, and pictures of the seeds that follow.

    Its count is that of the first request, at least 2. For a variation, the variation seed counts upward.
    """
    return replace(
        request,
        seed=seed_of(request, index),
        variation_seed=variation_seed_of(request, index),
        count=max(2, request.count),
    )


def vary(request: DrawRequest, index: int, rng: random.Random) -> DrawRequest:
    """Return the request for variations of picture ``index``: each mixes its seed with a variation seed of its own.

    Its count is that of the first request, at least 2.
    """
    return replace(
        request,
        seed=seed_of(request, index),
        count=max(2, request.count),
        variation=VARIATION,
        variation_seed=_other_seed(request.variation_seed, rng),
    )


def upscale(request: DrawRequest, index: int, image: str, size: tuple[int, int]) -> DrawRequest:
    """Return the request that enlarges picture ``index``: its file is the source image; prompt and seed stay.

    References and control are left out: they have done their part, and ``image`` is another picture now.

    Args:
        request: The picture's request.
        index: 0-based.
        image: The picture's file, relative to the data folder.
        size: Width and height in pixels, from ``upscaled``.
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
        references=(),
        control="",
        control_weight=1.0,
    )


def upscaled(width: int, height: int, profile: Profile) -> tuple[int, int] | None:
    """Return twice the width and height, or the most that the model's limits and grid allow; None if that is not larger."""
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
