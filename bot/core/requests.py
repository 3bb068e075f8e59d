"""Draw requests: as typed, as checked, the requests that buttons derive from them, and the recipes of their pictures."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path

from bot.core.preferences import RecipeRule
from bot.core.texts import fold
from engine.contract import BEYOND_PROMPT, SECOND_ORDER, LoraInfo, LoraRequest, Profile, Range, Recipe

MAX_LORAS = 3
"""Most LoRAs of one request, those of its style included."""

MAX_SEED = 2**63 - 1
"""Largest seed: the largest signed 64-bit integer, which SQLite and torch can hold."""

VARIATION = 0.25
"""Share of a variation's noise that comes from another seed: small enough that the picture is recognisable."""

UPSCALE = 2.0
"""Factor by which an upscale enlarges width and height."""

UPSCALE_STRENGTH = 0.35
"""Strength of an upscale: it adds detail and keeps the content."""

MAX_PICTURE_BYTES = 32 * 2**20
"""Most bytes of a source picture, of its mask, or of a reference picture."""

MAX_PICTURES_BYTES = 64 * 2**20
"""Most bytes of all pictures of a request together."""

STRENGTH = Range(0.6, 0.05, 1.0)
"""How much of a source image is redrawn. Below 0.05 no change would be visible."""

ABOUT_DEMO = "note.demo"
"""Catalogue key of the note that the first job which the demo model has drawn for a person gets."""

_DRAWN_BELOW = 2**32
"""Seeds that Easel chooses are below this: short to read, and exact in JavaScript."""


class PictureUse(StrEnum):
    """What a request does with the pictures that it came with.

    START: the picture is drawn anew from the prompt. EDIT: the prompt says what to change.
    """

    START = "start"
    EDIT = "edit"


@dataclass(frozen=True, slots=True)
class PictureSource:
    """A picture that somebody sent to a platform, before it is fetched.

    Attributes:
        id: The platform's own id of the file; the same picture has the same id.
        location: What the platform fetches it by: a file id, or an address that the platform itself has given.
        bytes: Its size as the platform says; 0 where it does not.
    """

    id: str
    location: str = field(repr=False)
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class DrawForm:
    """A request as typed, not yet checked. None means: not given.

    ``prompt`` may hold flags (``--size 3:4``); a field takes precedence over a flag. Numbers stay text, so that a refusal
    can quote them and large seeds lose no digits. ``image`` is the file of the source image; ``mask`` is the file of its
    mask, white where the picture is drawn anew; ``references`` are the files of the reference pictures. They go together
    with an image only if there is a mask: then the edit changes that part of the image alone. ``lora`` is
    ``NAME:WEIGHT``, several with commas between. ``sources`` are pictures that are still to be fetched from the platform;
    ``use`` says what they become; without it, the model decides. ``start`` names a stored picture in the place of
    ``image``: the number of its job, or ``JOB:PICTURE``, both from 1. ``expand`` asks for a longer prompt, which is shown
    before it is drawn. ``mask_by_alpha``: the mask has no white part; what is fully transparent is drawn anew.
    ``label`` asks for the visible label in the pictures.
    ``parent`` names the stored picture that ``image`` or the first reference is, as ``start`` does: it says where the new
    picture comes from, and changes nothing else.
    """

    prompt: str
    size: str | None = None
    seed: str | None = None
    count: str | None = None
    steps: str | None = None
    guidance: str | None = None
    negative: str | None = None
    style: str | None = None
    model: str | None = None
    strength: str | None = None
    private: bool | None = None
    lora: str | None = None
    sampler: str | None = None
    clip_skip: str | None = None
    control: str | None = None
    control_weight: str | None = None
    start: str | None = None
    expand: bool | None = None
    label: bool | None = None
    parent: str | None = None
    image: bytes | None = field(default=None, repr=False)
    mask: bytes | None = field(default=None, repr=False)
    mask_by_alpha: bool | None = None
    references: tuple[bytes, ...] = field(default=(), repr=False)
    sources: tuple[PictureSource, ...] = ()
    use: PictureUse | None = None


@dataclass(frozen=True, slots=True)
class SourceImage:
    """A decoded and stored source image.

    Attributes:
        image: Name of its file, relative to the data folder.
        width: Pixels.
        height: Pixels.
        mask: Name of its mask's file; empty for none.
        white: Bounding box (left, top, right, bottom) of the mask's white area, in pixels; None without a mask.
    """

    image: str
    width: int
    height: int
    mask: str = ""
    white: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class ReferenceImage:
    """A decoded and stored reference picture.

    Attributes:
        file: Name of its file, relative to the data folder.
        width: Pixels.
        height: Pixels.
    """

    file: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class DrawRequest:
    """A checked request: all values are in range for its model, and the seed is fixed.

    Attributes:
        prompt: The prompt for the model, with the style's words.
        typed: The prompt as typed, without flags.
        negative: The negative prompt; empty for none.
        width: Pixels, on the model's grid.
        height: Pixels, on the model's grid.
        steps: In the profile's range.
        guidance: In the profile's range.
        seed: 0 to 2**63 - 1; picture i has seed + i, except variations, which share it.
        count: 1 to 4 in chats, to 16 on the page and the command line.
        model: A profile's name.
        style: Name of a style, or empty.
        private: Only its author sees the job.
        notes: Catalogue keys of notes for the person, such as an ignored negative prompt.
        image: File of the source image, relative to the data folder; empty for none.
        mask: File of its mask, likewise.
        strength: How far to move away from ``image``, above 0 to 1.
        variation: Share of the noise that comes from the variation seed, 0 to 1; above 0, all pictures share ``seed``.
        variation_seed: 0 to 2**63 - 1; picture i has variation_seed + i.
        upscale: Factor by which ``image`` is enlarged; 0 if the request is no upscale.
        references: Files of the reference pictures, in order, relative to the data folder.
        loras: LoRAs with their weights, in order; at most ``MAX_LORAS``.
        sampler: One of the profile's samplers; empty for the model's own.
        clip_skip: Last layers of CLIP that are left out, as A1111 counts; 0 for the model's own.
        control: Kind of the control picture, which ``image`` is then; empty for none.
        control_weight: How strongly the control picture counts, 0 to 2.
        recipe_rule: How much of it its files may tell, as far as the operator allows it.
        label: The visible label is drawn into the pictures.
    """

    prompt: str
    typed: str
    negative: str
    width: int
    height: int
    steps: int
    guidance: float
    seed: int
    count: int
    model: str
    style: str = ""
    private: bool = False
    notes: tuple[str, ...] = ()
    image: str = ""
    mask: str = ""
    strength: float = 1.0
    variation: float = 0.0
    variation_seed: int = 0
    upscale: float = 0.0
    references: tuple[str, ...] = ()
    loras: tuple[LoraRequest, ...] = ()
    sampler: str = ""
    clip_skip: int = 0
    control: str = ""
    control_weight: float = 1.0
    recipe_rule: RecipeRule = RecipeRule.ALWAYS
    label: bool = False

    @property
    def plain(self) -> bool:
        """Whether its pictures are drawn from the prompt alone, as ``Recipe.plain``."""
        return not any(getattr(self, name) for name in BEYOND_PROMPT)

    @property
    def seen_pixels(self) -> int:
        """Pixels that the denoiser sees in each step: those of a picture, and as many for each reference."""
        return self.width * self.height * (1 + len(self.references))


def without_trigger(request: DrawRequest, known: Sequence[LoraInfo]) -> tuple[LoraInfo, ...]:
    """Return the request's LoRAs that have trigger words of which the prompt holds none."""
    prompt = fold(request.prompt)
    by_name = {lora.name: lora for lora in known}
    used = [by_name[lora.name] for lora in request.loras if lora.name in by_name]
    return tuple(lora for lora in used if lora.triggers and not any(fold(word) in prompt for word in lora.triggers))


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
    """Return how often the denoiser runs for one picture in this number of steps of the request's sampler."""
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


def nearest_size(width: int, height: int, profile: Profile) -> tuple[int, int]:
    """Return the nearest size that is on the model's grid and within the limits of its sides."""
    return nearest_side(width, profile), nearest_side(height, profile)


def fitted_size(width: int, height: int, profile: Profile) -> tuple[int, int]:
    """Return a size that the model can draw, with about this ratio.

    A size that is too large or too small is scaled first, so that its ratio is kept as far as the limits allow.
    """
    scale = min(1.0, profile.side.high / max(width, height, 1))
    scale = max(scale, profile.side.low / max(min(width, height), 1))
    return nearest_side(width * scale, profile), nearest_side(height * scale, profile)


def nearest_side(side: float, profile: Profile) -> int:
    """Return the nearest length of a side that the model can draw, in pixels."""
    low = math.ceil(profile.side.low / profile.multiple)
    high = profile.side.high // profile.multiple
    return min(max(round(side / profile.multiple), low), high) * profile.multiple


def _after(seed: int, index: int) -> int:
    return (seed + index) % (MAX_SEED + 1)


def _other_seed(seed: int, rng: random.Random) -> int:
    other = new_seed(rng)
    while other == seed:
        other = new_seed(rng)
    return other
