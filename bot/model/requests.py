"""What somebody asks for: the form as typed, and the request once it is checked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DrawForm:
    """A request as it was typed; nothing is checked yet. None means: not given.

    ``prompt`` may hold flags (``--size 3:4``); a field that is given wins over a flag. Numbers stay text, so that
    what was really typed can be named in a refusal and large seeds lose no digits.
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
        seed: 0 to 2**63 - 1; picture i has seed + i.
        count: 1 to 4 in chats, to 16 on the page and the command line.
        model: A profile's name.
        style: Name of a style, or empty.
        private: Shown to its asker alone.
        notes: Catalogue keys of what the person should know (such as an ignored negative prompt).
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
