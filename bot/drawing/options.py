"""The options of a request as arguments of commands, and the form that their values make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bot.commands.model import YES, Arg, ArgType
from bot.core.requests import STRENGTH, DrawForm
from bot.drawing.model_rules import MAX_REFERENCES

PROMPT = Arg("prompt", ArgType.PROMPT)

OPTIONS = (
    PROMPT,
    Arg("size", ArgType.SIZE, required=False),
    Arg("count", ArgType.COUNT, required=False),
    # As text: a seed may have more digits than a platform's numbers.
    Arg("seed", ArgType.WORD, required=False),
    Arg("negative", ArgType.TEXT, required=False),
    Arg("model", ArgType.MODEL, required=False),
    Arg("style", ArgType.STYLE, required=False),
    Arg("lora", ArgType.LORA, required=False),
    Arg("steps", ArgType.WHOLE, required=False, limits=(1, 1000)),
    Arg("guidance", ArgType.DECIMAL, required=False, limits=(0, 100)),
    Arg("strength", ArgType.DECIMAL, required=False, limits=(STRENGTH.low, STRENGTH.high)),
    Arg("private", ArgType.SWITCH, required=False),
    Arg("expand", ArgType.SWITCH, required=False),
    Arg("label", ArgType.SWITCH, required=False),
)
"""What ``draw`` takes; each is the field of ``DrawForm`` of its name. A typed line has a flag for each instead."""

PICTURES = tuple(
    Arg(name, ArgType.PICTURE, required=False)
    for name in ("picture", *(f"picture{n}" for n in range(2, MAX_REFERENCES + 1)))
)
"""Pictures beside the words, for surfaces that have a box for each."""


EDIT_OPTIONS = (
    Arg("instruction", ArgType.TEXT),
    Arg("model", ArgType.MODEL, required=False),
    Arg("strength", ArgType.DECIMAL, required=False, limits=(STRENGTH.low, STRENGTH.high)),
    Arg("private", ArgType.SWITCH, required=False),
    Arg("label", ArgType.SWITCH, required=False),
    *PICTURES,
    Arg("start", ArgType.JOB, required=False),
)
"""What ``edit`` takes; without a picture or a drawing's number it edits one's last picture. The instruction is the prompt of the request."""


def form_of(args: Mapping[str, str]) -> DrawForm:
    """Return the form of the values that were given, by the argument's name."""
    args = {("prompt" if name == "instruction" else name): value for name, value in args.items()}
    values: dict[str, Any] = {arg.name: args[arg.name] for arg in OPTIONS if arg.name in args}
    values |= {name: values[name] == YES for name in ("private", "expand", "label") if name in values}
    return DrawForm(**values)
