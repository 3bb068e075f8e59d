"""The ``parameters`` text: how a picture was drawn, as A1111 writes it and Civitai reads it.

It has three parts: the prompt, a line ``Negative prompt: ...``, and a last line ``Steps: 8, Sampler: Euler, ...``.
Readers recognise the last line by ``Steps: `` and at least three ``Key: value`` pairs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from engine.contract import MADE_CONTROL, MASK_ZOOMED, Recipe

KEYWORD = "parameters"
"""Keyword of the text in a PNG."""

_COMMIT_CHARS = 10

_NEGATIVE = "Negative prompt:"
_QUOTED = re.compile(r'[,\n:]|^"')
# Readers take such a line as the negative prompt or the settings, even inside the prompt.
_MISREAD = re.compile(r"\s*\n\s*(?=Negative prompt:|Steps:)")
# A1111 also reads the first marker at the beginning of the first line, Civitai anywhere.
_MARKER = re.compile(r"Negative prompt:|^Steps: ")
_NO_BREAK_SPACE = "\u00a0"


def parameters(
    recipe: Recipe,
    model_title: str,
    *,
    sampler: str = "Euler",
    style: str = "",
    upscale: float = 0.0,
    precision: str = "",
    revision: str = "",
    lora_hashes: Sequence[tuple[str, str]] = (),
    notes: Sequence[str] = (),
) -> str:
    """Return the text for one picture.

    A line of the prompt that begins with ``Negative prompt:`` or ``Steps:`` would be misread. It is joined to the line
    before it, and the space in the marker becomes a no-break space, which looks the same and which tokenizers treat as a
    space. Other line breaks stay. As in A1111, Size of an enlarged picture is the size before, and Hires upscale is the
    factor. LoRAs stand behind the prompt, as people type them.

    Args:
        recipe: The picture's recipe.
        model_title: The model's title.
        sampler: A1111's name of the model's own sampler, which counts where the recipe has none.
        style: Name of the request's style; empty for none.
        upscale: Factor by which the picture was enlarged; 0 if it was not.
        precision: Number format that it was drawn in; empty if unknown.
        revision: Commit of the model's files on their hub; empty if they have none.
        lora_hashes: ``Image.loras``: A1111 and Civitai (AutoV3) find a LoRA by these digits.
        notes: The engine's notes on the picture.
    """
    factor = upscale or 1.0
    settings = {
        "Steps": str(recipe.steps),
        "Sampler": recipe.sampler or sampler,
        "CFG scale": f"{recipe.guidance:g}",
        "Seed": str(recipe.seed),
        "Size": f"{round(recipe.width / factor)}x{round(recipe.height / factor)}",
        "Clip skip": str(recipe.clip_skip) if recipe.clip_skip else "",
        "Model": model_title,
        "Model revision": revision[:_COMMIT_CHARS],
        "Variation seed": str(recipe.variation_seed) if recipe.variation else "",
        "Variation seed strength": f"{recipe.variation:g}" if recipe.variation else "",
        "Denoising strength": f"{recipe.strength:g}" if recipe.image and not recipe.control else "",
        "ControlNet 0": _controlnet(recipe) if recipe.control else "",
        "Mask": "yes" if recipe.mask else "",
        "Inpaint area": "Only masked" if MASK_ZOOMED in notes else "",
        "References": str(len(recipe.references)) if recipe.references else "",
        "Hires upscale": f"{upscale:g}" if upscale else "",
        "Lora hashes": ", ".join(f"{name}: {digest}" for name, digest in lora_hashes),
        "Precision": precision,
        "Style": style,
        "Version": f"Easel {easel_version()}",
    }
    lines = [" ".join([_safe(recipe.prompt), *(f"<lora:{lora.name}:{lora.weight:g}>" for lora in recipe.loras)])]
    if recipe.negative:
        lines.append(f"{_NEGATIVE} {_safe(recipe.negative)}")
    lines.append(", ".join(f"{key}: {_quote(value)}" for key, value in settings.items() if value))
    return "\n".join(lines)


def _controlnet(recipe: Recipe) -> str:
    """Return the control picture's settings as A1111's ControlNet extension writes them; its kind stands for the model."""
    module = recipe.control if recipe.control == MADE_CONTROL else "none"
    weight = f"{recipe.control_weight:g}"
    return f"Module: {module}, Model: {recipe.control}, Weight: {weight}, Resize Mode: Crop and Resize, Control Mode: Balanced"


def easel_version() -> str:
    """Return the installed version; ``0`` if Easel is not installed."""
    try:
        return version("easel")
    except PackageNotFoundError:
        return "0"


def _safe(text: str) -> str:
    joined = _MISREAD.sub(" ", text.strip())
    return _MARKER.sub(lambda found: found[0].replace(" ", _NO_BREAK_SPACE), joined)


def _quote(value: str) -> str:
    # A1111 writes a value with separators as a JSON string.
    return json.dumps(value, ensure_ascii=False) if _QUOTED.search(value) else value
