"""The ``parameters`` text as the A1111 family writes it, and as Civitai reads it.

Three parts: the prompt, a line ``Negative prompt: ...``, and one last line ``Steps: 8, Sampler: Euler, ...``. Readers
find the last line by its three or more ``Key: value`` pairs and its beginning with ``Steps: ``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from engine.contract import Profile, Recipe

KEYWORD = "parameters"
"""Under which A1111 looks for it in a PNG."""

SAMPLERS: Mapping[str, str] = {
    "": "Euler",
    "FlowMatchEulerDiscreteScheduler": "Euler",
    "EulerDiscreteScheduler": "Euler",
    "EulerAncestralDiscreteScheduler": "Euler a",
    "DPMSolverMultistepScheduler": "DPM++ 2M",
    "DPMSolverSDEScheduler": "DPM++ SDE",
    "DDIMScheduler": "DDIM",
    "PNDMScheduler": "PLMS",
    "UniPCMultistepScheduler": "UniPC",
    "LCMScheduler": "LCM",
    "HeunDiscreteScheduler": "Heun",
    "LMSDiscreteScheduler": "LMS",
}
"""A1111's names of diffusers' schedulers; a model of the flow-match kind that names none has Euler."""

_COMMIT_CHARS = 10

_NEGATIVE = "Negative prompt:"
_QUOTED = re.compile(r'[,\n:]|^"')
# Readers take a line that begins so as the negative prompt, or as the settings, even inside the prompt.
_MISREAD = re.compile(r"\s*\n\s*(?=Negative prompt:|Steps:)")
# A1111 takes the first at the beginning of the first line too, Civitai anywhere.
_MARKER = re.compile(r"Negative prompt:|^Steps: ")
_NO_BREAK_SPACE = "\u00a0"


def sampler_of(profile: Profile) -> str:
    """Return A1111's name of what a model is drawn with."""
    known = SAMPLERS.get(profile.scheduler, profile.scheduler.removesuffix("Scheduler"))
    return f"{known} Karras" if profile.scheduler_config.get("use_karras_sigmas") else known


def parameters(
    recipe: Recipe,
    model_title: str,
    *,
    sampler: str = SAMPLERS[""],
    style: str = "",
    upscale: float = 0.0,
    precision: str = "",
    revision: str = "",
) -> str:
    """Return the text for one picture.

    A prompt whose own line begins with ``Negative prompt:`` or ``Steps:`` would be misread: that line is joined to the
    one before it, and the marker's own space becomes one without a break, which looks alike and is a space to every
    tokenizer. Other line breaks stay. As A1111 has it, an enlarged picture's Size is the one that it was enlarged
    from, and Hires upscale says by how much.

    Args:
        recipe: What decided the pixels.
        model_title: The model's proper name.
        sampler: As A1111 names it.
        style: Name of the style whose words the prompt holds, if any.
        upscale: How many times as wide it is as the picture that it enlarges; 0 where it enlarges none.
        precision: Number format that it was drawn in; empty where nobody said.
        revision: Commit of the model's files on their hub; empty for files that have none.
    """
    factor = upscale or 1.0
    settings = {
        "Steps": str(recipe.steps),
        "Sampler": sampler,
        "CFG scale": f"{recipe.guidance:g}",
        "Seed": str(recipe.seed),
        "Size": f"{round(recipe.width / factor)}x{round(recipe.height / factor)}",
        "Model": model_title,
        "Model revision": revision[:_COMMIT_CHARS],
        "Variation seed": str(recipe.variation_seed) if recipe.variation else "",
        "Variation seed strength": f"{recipe.variation:g}" if recipe.variation else "",
        "Denoising strength": f"{recipe.strength:g}" if recipe.image else "",
        "Mask": "yes" if recipe.mask else "",
        "Hires upscale": f"{upscale:g}" if upscale else "",
        "Precision": precision,
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
    joined = _MISREAD.sub(" ", text.strip())
    return _MARKER.sub(lambda found: found[0].replace(" ", _NO_BREAK_SPACE), joined)


def _quote(value: str) -> str:
    # A1111 quotes as JSON what would end the value early.
    return json.dumps(value, ensure_ascii=False) if _QUOTED.search(value) else value
