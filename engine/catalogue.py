"""The models that Easel knows: their defaults, their limits, and what each ignores."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path

from engine.contract import Honour, Limits, Profile, Recipe, UnknownModel

DEMO = "demo"
"""What EASEL_MODEL says for the bundled model."""

_RATIOS: Mapping[str, tuple[int, int]] = {
    "square": (1, 1),
    "portrait": (3, 4),
    "landscape": (4, 3),
    "tall": (9, 16),
    "wide": (16, 9),
}

_FAMILIES: Mapping[str, str] = {"ZImagePipeline": "z_image"}
"""Which family draws a pipeline of this class."""

_BATCH_PIXELS = 2**20
"""Pixels that are worth drawing together: one 1024x1024 picture fills a device, small ones need company."""

_BATCH_MOST = 8
"""More pictures in a batch make the first of them wait longer than they save."""


def demo() -> Profile:
    """Return the profile of the bundled demo model; its limits are those of its card, ``engine/demo/README.md``."""
    return Profile(
        name=DEMO,
        title="Easel demo",
        source=str(resources.files("engine.demo") / "model"),
        family="z_image",
        multiple=16,
        side=Limits(192, 64, 512),
        presets=_presets(192, 16),
        steps=Limits(8, 1, 50),
        # Trained with empty captions too, so that guidance works; the most that still looks like something.
        guidance=Limits(0.0, 0.0, 5.0),
        negative=Honour.WITH_GUIDANCE,
        languages=("en", "zh"),
        licence="Apache-2.0",
        enlarge=3,
    )


def z_image_turbo() -> Profile:
    """Return the profile of Z-Image-Turbo; it is distilled to draw without guidance, so negative prompts do nothing."""
    return Profile(
        name="z-image-turbo",
        title="Z-Image-Turbo",
        source="Tongyi-MAI/Z-Image-Turbo",
        family="z_image",
        multiple=16,
        side=Limits(1024, 512, 2048),
        presets=_presets(1024, 16),
        steps=Limits(8, 1, 50),
        guidance=Limits(0.0, 0.0, 0.0),
        negative=Honour.NEVER,
        languages=("en", "zh"),
        licence="Apache-2.0",
    )


def profile_for(model: str) -> Profile:
    """Return the profile for ``EASEL_MODEL``: ``demo``, the hub id or the name of a known model, or a folder.

    Reads a folder's small JSON files, so it is for start-up, not for an event loop.

    Raises:
        UnknownModel: No such model, or a folder that holds no pipeline that Easel can draw with; says which and why.
    """
    known = (demo(), z_image_turbo())
    for profile in known:
        if model.lower() in (profile.name, profile.source.lower()):
            return profile
    try:
        folder = Path(model).expanduser()
        is_folder = folder.is_dir()
    except (OSError, RuntimeError):  # a name that no path can have, a user that is not here
        is_folder = False
    if is_folder:
        return _of_folder(folder)
    choices = ", ".join(p.name if p.name == DEMO else p.source for p in known)
    raise UnknownModel(
        f"There is no model {model!r}: set EASEL_MODEL to {choices}, or to a folder with a diffusers pipeline."
    )


def batch(recipe: Recipe) -> int:
    """Return how many recipes of this size are worth painting together, 1 to 8."""
    return max(1, min(_BATCH_MOST, _BATCH_PIXELS // max(1, recipe.width * recipe.height)))


def _presets(side: int, multiple: int) -> Mapping[str, tuple[int, int]]:
    """Return the sizes of the five ratios at the area ``side * side``, on the grid of ``multiple``."""

    def near(length: float) -> int:
        return max(multiple, round(length / multiple) * multiple)

    return {name: (near(side * math.sqrt(w / h)), near(side * math.sqrt(h / w))) for name, (w, h) in _RATIOS.items()}


def _of_folder(folder: Path) -> Profile:
    """Return the profile of a pipeline in a folder; raises UnknownModel."""
    index = _read(folder / "model_index.json")
    named = index.get("_class_name")
    family = _FAMILIES.get(named) if isinstance(named, str) else None
    if family is None:
        raise UnknownModel(
            f"The model in {folder} is a {named!r}, which Easel can't draw with; it can with {', '.join(_FAMILIES)}."
        )
    for part, kind in index.items():
        if not part.startswith("_") and isinstance(kind, list) and all(kind) and not (folder / part).is_dir():
            raise UnknownModel(f"The model in {folder} is damaged: its folder {part!r} is missing; copy it again.")
    side = _read(folder / "vae" / "config.json").get("sample_size")
    if not isinstance(side, int) or not 64 <= side <= 4096:
        side = 1024
    side = round(side / 16) * 16
    # A folder says neither how it was distilled nor for what: Turbo's defaults, with room to try others.
    return replace(
        z_image_turbo(),
        name=re.sub(r"[^a-z0-9._-]+", "-", folder.resolve().name.lower()).strip("-") or "folder",
        title=folder.resolve().name,
        source=str(folder.resolve()),
        family=family,
        side=Limits(side, max(64, side // 32 * 16), side * 2),
        presets=_presets(side, 16),
        guidance=Limits(0.0, 0.0, 10.0),
        negative=Honour.WITH_GUIDANCE,
        licence="",
    )


def _read(path: Path) -> dict[str, object]:
    """Read a JSON object of a model's folder; raises UnknownModel with the reason."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UnknownModel(
            f"The folder {path.parent} holds no {path.name}: it is no complete diffusers pipeline."
        ) from None
    except (OSError, ValueError) as e:
        raise UnknownModel(f"The model's file {path} can't be read ({e}); copy the model again.") from e
    if not isinstance(found, dict):
        raise UnknownModel(f"The model's file {path} is damaged: it is no JSON object; copy the model again.")
    return found
