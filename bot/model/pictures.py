"""A stored picture and the file behind it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Picture:
    """One stored picture. ``path`` is relative to the pictures folder; ``index`` is 0-based within the job."""

    id: int
    job_id: int
    index: int
    seed: int
    path: str
    width: int
    height: int
    bytes: int
    seconds: float
    created_at: float


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A file that a surface may show; ``name`` is safe to offer as a file name."""

    path: Path
    name: str
    mime: str
    width: int
    height: int
    alt: str = ""
    """The prompt, for people who can't see the picture; data, never markup."""
    index: int | None = None
    """0-based within its job; None for a file that is no single picture."""
    seed: int | None = None
