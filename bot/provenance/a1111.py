"""The ``parameters`` text as the A1111 family writes it, and as Civitai reads it.

Three parts: the prompt, a line ``Negative prompt: ...``, and one last line ``Steps: 8, Sampler: Euler, ...``. Readers
find the last line by its three or more ``Key: value`` pairs and its beginning with ``Steps: ``.
"""

from __future__ import annotations

import json
import re
from importlib.metadata import PackageNotFoundError, version

from engine.contract import Recipe

KEYWORD = "parameters"
"""Under which A1111 looks for it in a PNG."""

SAMPLER = "Euler"
"""A1111's name of the flow-match Euler scheduler."""

_NEGATIVE = "Negative prompt:"
_QUOTED = re.compile(r'[,\n:]|^"')
# Readers take a line that begins so as the negative prompt, or as the settings, even inside the prompt.
_MISREAD = re.compile(r"\s*\n\s*(?=Negative prompt:|Steps: )")


def parameters(recipe: Recipe, model_title: str, *, sampler: str = SAMPLER, style: str = "") -> str:
    """Return the text for one picture.

    A prompt whose own line begins with ``Negative prompt:`` or ``Steps:`` would be misread: that line is joined to the
    one before it. Other line breaks stay.

    Args:
        recipe: What decided the pixels.
        model_title: The model's proper name.
        sampler: As A1111 names it.
        style: Name of the style whose words the prompt holds, if any.
    """
    settings = {
        "Steps": str(recipe.steps),
        "Sampler": sampler,
        "CFG scale": f"{recipe.guidance:g}",
        "Seed": str(recipe.seed),
        "Size": f"{recipe.width}x{recipe.height}",
        "Model": model_title,
        "Style": style,
        "Version": f"Easel {easel_version()}",
    }
    lines = [_safe(recipe.prompt)]
    if recipe.negative:
        lines.append(f"{_NEGATIVE} {_safe(recipe.negative)}")
    lines.append(", ".join(f"{key}: {_quote(value)}" for key, value in settings.items() if value))
    return "\n".join(lines)


def easel_version() -> str:
    """Return the installed version, or ``0`` when Easel runs without being installed."""
    try:
        return version("easel")
    except PackageNotFoundError:
        return "0"


def _safe(text: str) -> str:
    return _MISREAD.sub(" ", text.strip())


def _quote(value: str) -> str:
    # A1111 quotes as JSON what would end the value early.
    return json.dumps(value, ensure_ascii=False) if _QUOTED.search(value) else value
