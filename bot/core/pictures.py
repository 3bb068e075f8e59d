"""A stored picture and the file behind it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Picture:
    """One stored picture.

    Attributes:
        path: Relative to the pictures folder.
        index: 0-based within the job.
        precision: Number format that it was drawn in, such as ``bf16``; empty where nobody said.
        revision: Commit of the model's files on their hub; empty for files that have none.
        notes: Codes of what the person should know of it, such as ``prompt_cut``.
        device: The kind of device that drew it; empty where nobody said.
        setup: Short digest of how its model was put together; empty where nobody said.
        flag: What moderation says of it: empty, or ``spoiler``.
    """

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
    precision: str = ""
    revision: str = ""
    notes: tuple[str, ...] = ()
    device: str = ""
    setup: str = ""
    flag: str = ""


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
    spoiler: bool = False
    """Shown behind a cover, until somebody wants to see it."""
    favourite: bool = False
    """Whoever looks keeps it as a favourite, where that is known."""
