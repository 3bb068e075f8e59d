"""Reads the small files of a folder with a diffusers pipeline: its class, its parts, its native size."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePath

from engine import weights
from engine.contract import NegativePromptSupport, Profile, Range, UnknownModel
from engine.families import registry
from engine.families.spec import FamilySpec, presets, priced
from engine.regular_files import read_json

_SMALLEST, _LARGEST = 64, 4096
"""Range of plausible native sides in pixels; a config with another is ignored."""

_LANGUAGE_TOKENS = 30_000
"""Fewest tokens in the vocabulary of a text encoder that can write; Qwen3 has 151,936."""


def index_of(folder: Path, repo: str = "") -> tuple[str, FamilySpec]:
    """Return the class name and the family of the pipeline in a folder.

    Args:
        folder: The folder.
        repo: The hub id that messages name in its place, where it was downloaded.

    Raises:
        UnknownModel: The folder holds no pipeline that Easel can draw with, or an incomplete one. The message says
            which and why.
    """
    with _named(folder, repo):
        return _index_of(folder)


@contextmanager
def _named(folder: Path, repo: str) -> Iterator[None]:
    """Name a hub id in the messages of UnknownModel, and not the folder that it was downloaded to."""
    try:
        yield
    except UnknownModel as e:
        if not repo:
            raise
        raise UnknownModel(str(e).replace(str(folder), repo)) from e


def _index_of(folder: Path) -> tuple[str, FamilySpec]:
    index = read(folder / "model_index.json")
    named = index.get("_class_name")
    family = registry.of_pipeline(named) if isinstance(named, str) else None
    if family is None:
        any_other = registry.of_any_pipeline()
        assert any_other.describe is not None
        family = any_other.describe(any_other, folder, index, read)
        return family.pipelines[0], family
    assert isinstance(named, str)
    for part, kind in index.items():
        # Parts that are not used, such as the safety checker, may be missing.
        if part in family.parts and isinstance(kind, list) and all(kind) and not (folder / part).is_dir():
            raise UnknownModel(f"The model in {folder} is damaged: its folder {part!r} is missing; copy it again.")
    for part, allowed in family.parts.items():
        kind = index.get(part)
        if not (isinstance(kind, list) and len(kind) == 2 and all(isinstance(k, str) for k in kind)):
            raise UnknownModel(
                f"The model in {folder} names no {part}, which a {named} draws with: it is no whole pipeline."
            )
        if kind[0] not in ("diffusers", "transformers"):
            raise UnknownModel(
                f"The model in {folder} needs code of its own for its {part} ({'.'.join(kind)}), and Easel runs no "
                "code that comes with a model."
            )
        if kind[0] != allowed.library or kind[1] not in allowed.classes:
            raise UnknownModel(
                f"The model in {folder} has a {'.'.join(kind)} as its {part}, which Easel can't draw with; it can with "
                f"{', '.join(f'{allowed.library}.{name}' for name in sorted(allowed.classes))}."
            )
    return named, family


def family_of(name: str, folder: Path) -> FamilySpec:
    """Return the spec of a model by its family's name and its folder, which decides it where the family takes any class.

    Raises UnknownModel as ``index_of`` does.
    """
    return index_of(folder)[1] if registry.any_call(name) else registry.spec_of(name)


def profile_of(folder: Path, repo: str = "") -> Profile:
    """Return the profile of the pipeline in a folder. Raises UnknownModel as ``index_of`` does.

    Args:
        folder: The folder.
        repo: The hub id that the pipeline is named after, where the folder was downloaded.
    """
    with _named(folder, repo):
        return _profile_of(folder, repo or str(folder.resolve()))


def _profile_of(folder: Path, source: str) -> Profile:
    """Return the profile of the pipeline in a folder, named after the last part of its source."""
    named, family = _index_of(folder)
    title = PurePath(source).name
    name = re.sub(r"[^a-z0-9._-]+", "-", title.lower()).strip("-.") or "folder"
    side = _native(folder, family)
    usual = _namesake(name, family) or _default(family)
    usual = usual if side == usual.side.default else sized(usual, side)
    parameters = {part: count for part in family.parts if (count := weights.parameters(folder / part))}
    return priced(
        replace(
            usual,
            name=name,
            title=title,
            source=source,
            pipeline=named,
            parameters=dict(usual.parameters) | parameters,
            expands=usual.expands and _has_language(folder),
        )
    )


def _has_language(folder: Path) -> bool:
    """Whether the text encoder has the vocabulary of a language model; that of the demo has 2000 tokens."""
    tokens = read(folder / "text_encoder" / "config.json").get("vocab_size")
    return isinstance(tokens, int) and tokens >= _LANGUAGE_TOKENS


def sized(profile: Profile, side: int) -> Profile:
    """Return the profile with a native square of ``side`` pixels, and sides from half to twice of that."""
    grid = max(registry.spec_of(profile.family).preset_multiple(side), profile.multiple)
    least = max(16, profile.multiple)
    side = max(grid, round(side / grid) * grid)
    return replace(
        profile, side=Range(side, max(64, side // 2 // least * least), side * 2), presets=presets(side, grid)
    )


def read(path: Path) -> dict[str, object]:
    """Read a JSON object from a model's folder; raises UnknownModel with the reason."""
    found = read_value(path)
    if not isinstance(found, dict):
        raise UnknownModel(f"The model's file {path} is damaged: it is no JSON object; copy the model again.")
    return found


def read_value(path: Path) -> object:
    """Read a JSON file from a model's folder; raises UnknownModel with the reason."""
    try:
        found: object = read_json(path)
    except FileNotFoundError:
        raise UnknownModel(
            f"The folder {path.parent} holds no {path.name}: it is no complete diffusers pipeline."
        ) from None
    except (OSError, ValueError) as e:
        why = e.strerror or e if isinstance(e, OSError) else e
        raise UnknownModel(f"The model's file {path} can't be read ({why}); copy the model again.") from e
    return found


def _namesake(name: str, family: FamilySpec) -> Profile | None:
    """Return the known model of this family that the folder is named after, by its name or its repository's."""
    for model in family.models:
        profile = model.profile
        names = (profile.name, profile.source.rpartition("/")[2].lower())
        if not model.base and name in names and profile.name != registry.DEMO:
            return profile
    return None


def _default(family: FamilySpec) -> Profile:
    """Return the profile of a folder that is not named after a known model, with a wide range of guidance.

    Its files do not say whether it was distilled, or what its licence is.
    """
    like = family.models[0].profile
    if family.describe is not None:
        return like
    guidance = replace(like.guidance, low=0.0, high=max(10.0, like.guidance.high))
    return replace(like, guidance=guidance, negative=NegativePromptSupport.WITH_GUIDANCE, licence="", licence_terms=())


def _native(folder: Path, family: FamilySpec) -> int:
    """Return the side of the pipeline's native square in pixels; the family's where the configs are implausible.

    Raises:
        UnknownModel: A config can't be read, or the denoiser needs more inputs than noise.
    """
    if family.describe is not None:
        return family.native_side
    part, key = family.native_side_key
    vae = read(folder / "vae" / "config.json")
    config = vae if part == "vae" else read(folder / part / "config.json")
    if family.input_channels:
        denoiser = read(folder / family.denoiser / "config.json")
        channels = denoiser.get("in_channels", family.input_channels)
        if channels != family.input_channels:
            kind = "UNet" if family.denoiser == "unet" else family.denoiser
            raise UnknownModel(
                f"The model in {folder} has a {kind} of {channels} channels, made for inpainting or editing alone; "
                f"Easel draws with those of {family.input_channels}, and inpaints with them too."
            )
    side = config.get(key)
    if family.native_side_in_latents and isinstance(side, int):
        blocks = vae.get("block_out_channels")
        side *= 2 ** (len(blocks) - 1) if isinstance(blocks, list) and blocks else 8
    return side if isinstance(side, int) and _SMALLEST <= side <= _LARGEST else family.native_side
