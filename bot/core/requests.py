"""Draw requests: the form as typed, the source image, and the checked request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bot.core.texts import fold
from engine.contract import LoraInfo, LoraRequest

MAX_LORAS = 3
"""Most LoRAs of one request, those of its style included."""


@dataclass(frozen=True, slots=True)
class DrawForm:
    """A request as typed, not yet checked. None means: not given.

    ``prompt`` may hold flags (``--size 3:4``); a field takes precedence over a flag. Numbers stay text, so that a refusal
    can quote them and large seeds lose no digits. ``image`` is the file of the source image; ``mask`` is the file of its
    mask, white where the picture is drawn anew; ``references`` are the files of the reference pictures. ``lora`` is
    ``NAME:WEIGHT``, several with commas between.
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
    image: bytes | None = field(default=None, repr=False)
    mask: bytes | None = field(default=None, repr=False)
    references: tuple[bytes, ...] = field(default=(), repr=False)


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
