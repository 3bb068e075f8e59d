"""Pictures: drawn, stored, and the files that surfaces show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.contract import ImageInfo, Profile


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
    """

    job_id: int
    index: int
    seed: int
    path: str
    bytes: int
    info: ImageInfo
    flag: str = ""


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
    """

    id: int
    job_id: int
    index: int
    seed: int
    path: str
    bytes: int
    created_at: float
    flag: str = ""


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

    def enlargement(self, profiles: Sequence[Profile]) -> int:
        """Return the factor by which surfaces enlarge it: above 1 only for native sizes of a small model."""
        sides = (self.width, self.height)
        for profile in profiles:
            if all(profile.side.low <= side <= profile.side.high for side in sides):
                return profile.enlarge
        return 1
