"""The ``parameters`` text: how a picture was drawn, written and read as A1111 and Civitai do.

It has three parts: the prompt, a line ``Negative prompt: ...``, and a last line ``Steps: 8, Sampler: Euler, ...``.
Readers recognise the last line by ``Steps: `` and at least three ``Key: value`` pairs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from pydantic_core import from_json

from bot.core.pictures import ReadParameters
from engine.contract import MADE_CONTROL, MASK_ZOOMED, Recipe

_COMMIT_CHARS = 10

_NEGATIVE = "Negative prompt:"
_GUIDANCE = "Guidance scale"
_LABEL = "Visible label"
_QUOTED = re.compile(r'[,\n:]|^"')
# Readers take such a line as the negative prompt or the settings, even inside the prompt. Civitai drops lines that begin
# like a template, and all up to the next one with a colon.
_MISREAD = re.compile(r"\s*\n\s*(?=(?:Negative prompt|Steps|Template|Negative Template):)")
# A1111 also reads the first marker at the beginning of the first line, Civitai anywhere.
_MARKER = re.compile(r"Negative prompt:|^(?:Steps|Template|Negative Template): ")
# Control characters but for line breaks and tabs, lone surrogates, and what stands for a byte order or for nothing:
# chunks and XML hold none of them, and readers of UTF-16 take a first U+FFFE for its byte order.
_UNPRINTED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
_MARKERS = (_NEGATIVE, "Steps: ", "Negative Template: ", "Template: ")
_NO_BREAK_SPACE = "\u00a0"

MAX_CHARS = 512 * 1024
"""Longest text that is read, in characters."""

MAX_SETTINGS = 64 * 1024
"""Longest line of settings that is read, in characters. Civitai's list of resources takes a few thousand."""

_LEAST_SETTINGS = 3
_WROTE = re.compile(r"Easel [0-9]")
_DIGITS = re.compile(r"[+-]?[0-9]{1,30}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?[0-9]{1,30}(?:\.[0-9]{0,30})?", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,6})x([0-9]{1,6})", re.ASCII)
# Bounded, so that a long line without a colon takes no time.
_NAME = re.compile(r"\s*(\w[\w \-/]{0,63}):[^\S\n]*")
_STRING = re.compile(r'"(?:\\.|[^\\"])*"')


def parameters(
    recipe: Recipe,
    model_title: str,
    *,
    sampler: str = "Euler",
    style: str = "",
    upscale: float = 0.0,
    precision: str = "",
    revision: str = "",
    checkpoint: str = "",
    lora_hashes: Sequence[tuple[str, str]] = (),
    notes: Sequence[str] = (),
    labelled: bool = False,
) -> str:
    """Return the text for one picture.

    A line of the prompt that begins with ``Negative prompt:``, ``Steps:`` or ``Template:`` would be misread. It is joined
    to the line before it, and the space in the marker becomes a no-break space, which looks the same and which tokenizers
    treat as a space. Other line breaks stay. As in A1111, Size of an enlarged picture is the size before, and Hires
    upscale is the factor. LoRAs stand behind the prompt, as people type them.

    Args:
        recipe: The picture's recipe.
        model_title: The model's title.
        sampler: A1111's name of the model's own sampler, which counts where the recipe has none.
        style: Name of the request's style; empty for none.
        upscale: Factor by which the picture was enlarged; 0 if it was not.
        precision: Number format that it was drawn in; empty if unknown.
        revision: Commit of the model's files on their hub; empty if they have none.
        checkpoint: ``Image.checkpoint``: A1111 and Civitai find a model by these digits. A folder has none.
        lora_hashes: ``Image.loras``: A1111 and Civitai (AutoV3) find a LoRA by these digits.
        notes: The engine's notes on the picture.
        labelled: Whether the visible label is drawn into it.
    """
    factor = upscale or 1.0
    settings = {
        "Steps": str(recipe.steps),
        "Sampler": recipe.sampler or sampler,
        # 0 is "no guidance", which A1111 calls 1. The exact number follows for Easel's own reader.
        "CFG scale": f"{recipe.guidance or 1:g}",
        _GUIDANCE: "" if recipe.guidance else "0",
        "Seed": str(recipe.seed),
        "Size": f"{round(recipe.width / factor)}x{round(recipe.height / factor)}",
        "Clip skip": str(recipe.clip_skip) if recipe.clip_skip else "",
        "Model hash": checkpoint,
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
        _LABEL: "yes" if labelled else "",
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


@cache
def easel_version() -> str:
    """Return the installed version; ``0`` if Easel is not installed."""
    try:
        return version("easel")
    except PackageNotFoundError:
        return "0"


def _safe(text: str) -> str:
    joined = _MISREAD.sub(" ", _UNPRINTED.sub("", text).strip())
    return _MARKER.sub(lambda found: found[0].replace(" ", _NO_BREAK_SPACE), joined)


def _quote(value: str) -> str:
    # A1111 writes a value with separators as a JSON string.
    return json.dumps(value, ensure_ascii=False) if _QUOTED.search(value) else value


def parse(text: str) -> ReadParameters | None:
    """Return what a ``parameters`` text tells; None if it has no line of settings, or more than MAX_CHARS characters.

    The settings are the last line that begins with ``Steps: `` and has three settings or more, else the last line if it
    has three. What stands below them (templates of extensions) is left out. As in A1111, the first line that begins with
    ``Negative prompt:`` starts the negative prompt.
    """
    if len(text) > MAX_CHARS:
        return None
    lines = text.replace("\r\n", "\n").strip().split("\n")
    at = next((i for i in range(len(lines) - 1, -1, -1) if _are_settings(lines[i])), len(lines) - 1)
    settings = _settings(lines[at])
    if len(settings) < _LEAST_SETTINGS:
        return None
    prompt: list[str] = []
    negative: list[str] = []
    into = prompt
    for line in lines[:at]:
        if line.lstrip().startswith(_NEGATIVE):
            into = negative
            line = line.lstrip()[len(_NEGATIVE) :]  # noqa: PLW2901 - the marker goes
        into.append(line.strip())
    own = _WROTE.match(settings.get("Version", "")) is not None
    texts = ["\n".join(part).strip() for part in (prompt, negative)]
    if own:
        texts = [_unsafe(part) for part in texts]
    width, height = _pair(settings.get("Size", ""))
    resources = _resources(settings.get("Civitai resources", ""))
    checkpoint = next((r["modelName"] for r in resources if r["type"] == "checkpoint"), "")
    return ReadParameters(
        tool="Easel" if own else "A1111",
        prompt=texts[0],
        negative=texts[1],
        width=width,
        height=height,
        steps=_whole(settings.get("Steps", "")),
        guidance=_decimal(settings.get(_GUIDANCE if own and _GUIDANCE in settings else "CFG scale", "")),
        seed=_whole(settings.get("Seed", "")),
        sampler=_sampler(settings),
        clip_skip=_whole(settings.get("Clip skip", "")),
        model=settings.get("Model", "") or checkpoint,
        style=settings.get("Style", "") if own else "",
        loras=tuple(
            (r["modelName"], _decimal(r["weight"]) or 1.0) for r in resources if r["type"] in {"lora", "lycoris"}
        ),
        strength=_decimal(settings.get("Denoising strength", "")) if _is_started(settings) else None,
        variation="Variation seed strength" in settings,
        enlarged="Hires upscale" in settings or "Hires resize" in settings,
        references=_whole(settings.get("References", "")) or 0,
        controlled="ControlNet 0" in settings,
        labelled=own and _LABEL in settings,
        masked="Mask" in settings or "Mask blur" in settings,
        text=text,
        settings=settings,
    )


def _are_settings(line: str) -> bool:
    return line.lstrip().startswith("Steps: ") and len(_settings(line)) >= _LEAST_SETTINGS


def _is_started(settings: Mapping[str, str]) -> bool:
    # A1111 names the strength of its second pass so too.
    return not any(name.startswith("Hires") for name in settings)


def _settings(line: str) -> dict[str, str]:
    """Return the settings of a line: names, and values that are quoted, in brackets, or end at the comma."""
    line = line.strip()[:MAX_SETTINGS]
    found: dict[str, str] = {}
    at = 0
    brackets = True
    while at < len(line):
        name = _NAME.match(line, at)
        comma = line.find(",", at)
        if name is None:
            if comma < 0:
                break
            at = comma + 1
            continue
        start = name.end()
        end = 0
        if brackets and line[start : start + 1] in {"[", "{"}:
            end = _closed(line, start)
            # Looked for once: a line of open brackets would take quadratic time.
            brackets = end > 0
        value, end = (line[start:end], end) if end else _value(line, start)
        found.setdefault(name[1].strip(), value)
        comma = line.find(",", end)
        at = len(line) if comma < 0 else comma + 1
    return found


def _value(line: str, start: int) -> tuple[str, int]:
    """Return a value and where it ends."""
    if line[start : start + 1] == '"' and (string := _STRING.match(line, start)) is not None:
        try:
            return str(json.loads(string[0], strict=False)), string.end()
        except ValueError:
            return string[0], string.end()
    comma = line.find(",", start)
    end = len(line) if comma < 0 else comma
    return line[start:end].strip(), end


def _closed(line: str, start: int) -> int:
    """Return where the brackets that open at ``start`` are closed; 0 if they are not."""
    depth, at = 0, start
    while at < len(line):
        char = line[at]
        if char == '"':
            string = _STRING.match(line, at)
            if string is None:
                return 0
            at = string.end()
            continue
        depth += (char in "[{") - (char in "]}")
        at += 1
        if depth == 0:
            return at
    return 0


def _resources(text: str) -> list[dict[str, str]]:
    """Return type, name and weight of the models in Civitai's list."""
    try:
        listed = from_json(text) if text else []
    except ValueError:
        return []
    found = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    return [
        {
            "type": _text(one.get("type")).lower(),
            "modelName": _text(one.get("modelName")),
            "weight": _text(one.get("weight")),
        }
        for one in found
        if one.get("modelName")
    ]


def _sampler(settings: Mapping[str, str]) -> str:
    """Return the sampler with its noise schedule, which newer versions write apart."""
    sampler, schedule = settings.get("Sampler", ""), settings.get("Schedule type", "")
    if schedule == "Karras" and not sampler.endswith("Karras"):
        return f"{sampler} Karras"
    return sampler


def _unsafe(text: str) -> str:
    """Undo ``_safe``'s change of markers."""
    for marker in _MARKERS:
        text = text.replace(marker.replace(" ", _NO_BREAK_SPACE), marker)
    return text


def _pair(text: str) -> tuple[int | None, int | None]:
    size = _SIZE.fullmatch(text.strip())
    return (int(size[1]), int(size[2])) if size else (None, None)


def _whole(text: str) -> int | None:
    return int(text) if _DIGITS.fullmatch(text) else None


def _decimal(text: str) -> float | None:
    return float(text) if _DECIMAL.fullmatch(text) else None


def _text(value: object) -> str:
    """Return a JSON text, or a number of usual length, as text; else an empty one."""
    if isinstance(value, int | float) and not abs(value) < 1e6:
        return ""
    return str(value) if isinstance(value, str | int | float) else ""
