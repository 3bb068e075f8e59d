"""What somebody asks for: the form as typed, and the request once it is checked."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class DrawForm:
    """A request as it was typed; nothing is checked yet. None means: not given.

    ``prompt`` may hold flags (``--size 3:4``); a field that is given wins over a flag. Numbers stay text, so that
    what was really typed can be named in a refusal and large seeds lose no digits. ``image`` is the file of a picture
    to start from, and ``mask`` one of what to draw anew in it (white), as they were given.
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
    image: bytes | None = field(default=None, repr=False)
    mask: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SourceImage:
    """A picture to start from, once it is read: its file, its mask's, and its sides in pixels.

    Attributes:
        image: Name of its file, relative to the data folder.
        width: Pixels.
        height: Pixels.
        mask: Name of its mask's file; empty for none.
        white: Box (left, top, right, bottom), in pixels, around all that the mask draws anew; None without a mask.
    """

    image: str
    width: int
    height: int
    mask: str = ""
    white: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class DrawRequest:
    """A checked request; everything is in range for its model, and the seed is fixed.

    Attributes:
        prompt: What the model is given, after style.
        typed: The prompt as its author wrote it, without flags.
        negative: Empty for nothing.
        width: Pixels, on the model's grid.
        height: Pixels, on the model's grid.
        steps: In the profile's range.
        guidance: In the profile's range.
        seed: 0 to 2**63 - 1; picture i has seed + i, unless they are variations of one.
        count: 1 to 4 in chats, to 16 on the page and the command line.
        model: A profile's name.
        style: Name of a style, or empty.
        private: Shown to its asker alone.
        notes: Catalogue keys of what the person should know (such as an ignored negative prompt).
        image: File of the picture to start from, relative to the data folder; empty for none.
        mask: File of its mask, likewise.
        strength: How far to move away from ``image``, above 0 to 1.
        variation: How much of the noise is another seed's, 0 to 1; above 0, all pictures have the same ``seed``.
        variation_seed: That other seed, 0 to 2**63 - 1; picture i has variation_seed + i.
        upscale: How many times as wide as ``image`` it becomes; 0 where it is no upscaling.
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
