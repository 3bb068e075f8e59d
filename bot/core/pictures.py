"""Pictures: drawn, stored, and the files that surfaces show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.contract import ImageInfo, LoraRequest, Profile


@dataclass(frozen=True, slots=True)
class DrawnPicture:
    """A picture whose file is written, and whose row is not.

    Attributes:
        job_id: Its job.
        index: 0-based within the job.
        seed: Seed that it was drawn from.
        path: Its file, relative to the pictures folder.
        bytes: Size of the file.
        info: How it was drawn.
        flag: Verdict of moderation: empty, or ``spoiler``.
        digest: Names its thumbnails; see Picture.
        document: Random id that the marks in its file name.
    """

    job_id: int
    index: int
    seed: int
    path: str
    bytes: int
    info: ImageInfo
    flag: str = ""
    digest: str = ""
    document: str = ""


@dataclass(frozen=True, slots=True)
class Picture(ImageInfo):
    """A stored picture.

    Attributes:
        id: Its row.
        job_id: Its job.
        index: 0-based within the job.
        seed: Seed that it was drawn from.
        path: Its file, relative to the pictures folder.
        bytes: Size of the file.
        created_at: Unix seconds.
        flag: Verdict of moderation: empty, or ``spoiler``.
        digest: 32 hexadecimal digits that name its thumbnails: the start of the file's SHA-256, or random ones for
            pictures from before there were thumbnails. Empty if it has none.
        document: Random id that the marks in its file name; empty for pictures from before there were marks.
    """

    id: int
    job_id: int
    index: int
    seed: int
    path: str
    bytes: int
    created_at: float
    flag: str = ""
    digest: str = ""
    document: str = ""


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A file that a surface may show. ``name`` is safe as a file name."""

    path: Path
    name: str
    mime: str
    width: int
    height: int
    alt: str = ""
    """Alternative text: the prompt. It is data, never markup."""
    index: int | None = None
    """0-based within its job; None if the file is not one picture."""
    seed: int | None = None
    spoiler: bool = False
    """The surface covers it until somebody uncovers it."""
    favourite: bool = False
    """Whether it is a favourite of the viewer; False if the viewer is unknown."""
    digest: str = ""
    """Names its thumbnails; empty if it has none. See Picture."""

    def enlargement(self, profiles: Sequence[Profile]) -> int:
        """Return the factor by which surfaces enlarge it: above 1 only for native sizes of a small model."""
        sides = (self.width, self.height)
        for profile in profiles:
            if all(profile.side.low <= side <= profile.side.high for side in sides):
                return profile.enlarge
        return 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadParameters:
    """How a picture was drawn, as its file tells. Nothing is checked against this Easel's models.

    Attributes:
        tool: Program that wrote it: ``Easel``, ``A1111`` or ``ComfyUI``.
        prompt: The prompt; LoRAs may stand in it as ``<lora:NAME:WEIGHT>``.
        negative: The negative prompt; empty for none.
        width: Pixels before enlarging; None if unknown, as with all further numbers.
        height: Pixels before enlarging.
        steps: Denoising steps.
        guidance: Guidance scale.
        seed: As written; it may be above ``MAX_SEED``.
        sampler: A1111's or ComfyUI's name; empty if unknown.
        clip_skip: As A1111 counts.
        model: Title or file name of the model; empty if unknown.
        style: Name of Easel's style, whose words are in the prompt; empty for none.
        loras: Name and weight of LoRAs that do not stand in the prompt.
        strength: How far it moved away from its start picture; None if it had none.
        variation: Whether it is a variation of another picture.
        enlarged: Whether it was enlarged after drawing.
        references: Number of its reference pictures.
        controlled: Whether a control picture was followed.
        masked: Whether a mask was used.
        labelled: Whether Easel's visible label is drawn into it.
        text: The stored text: A1111's parameters, or ComfyUI's JSON.
        settings: The values of A1111's last line by name; empty for ComfyUI.
    """

    tool: str
    prompt: str = ""
    negative: str = ""
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance: float | None = None
    seed: int | None = None
    sampler: str = ""
    clip_skip: int | None = None
    model: str = ""
    style: str = ""
    loras: tuple[tuple[str, float], ...] = ()
    strength: float | None = None
    variation: bool = False
    enlarged: bool = False
    references: int = 0
    controlled: bool = False
    masked: bool = False
    labelled: bool = False
    text: str = field(default="", repr=False)
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedParameters:
    """Values for the form, in range for ``model``; None and empty: the model's own.

    Attributes:
        tool: As ``ReadParameters.tool``.
        prompt: The prompt without LoRAs; no flag of it is read as one.
        negative: The negative prompt.
        model: Name of the profile that draws.
        size: Width and height in pixels, on the model's grid.
        steps: In the profile's range.
        guidance: In the profile's range.
        seed: 0 to 2**63 - 1.
        sampler: One of the profile's samplers.
        clip_skip: As A1111 counts.
        loras: LoRAs that are here and fit the model; no more than a request may have.
        label: Whether the visible label is drawn into the picture.
        notes: Sentences on what could not be applied.
    """

    tool: str
    prompt: str
    negative: str
    model: str
    size: tuple[int, int] | None
    steps: int | None
    guidance: float | None
    seed: int | None
    sampler: str
    clip_skip: int | None
    loras: tuple[LoraRequest, ...]
    label: bool
    notes: tuple[str, ...]
