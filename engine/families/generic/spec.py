"""The generic family: any diffusers pipeline that can be paused between two steps, and what is known of some of them.

A folder's small files and the source of the installed diffusers say what a pipeline is: its parts are those of
``model_index.json``, its arguments are those of ``__call__``. ``models.py`` holds what neither says; a class that is not there
is drawn with the defaults of ``arguments.unknown``. Classes of other families never come here: the registry asks those
first.

Memory is planned with the parameters of a model's files; the activations are those of a transformer of that size, half
as many again, for the picture and all references together.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import date
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from engine.contract import Capability, NegativePromptSupport, Profile, Range, UnknownModel
from engine.families.generic import arguments
from engine.families.generic.arguments import KnownPipeline, guidance_argument
from engine.families.generic.models import MODELS, NAME, PIPELINES
from engine.families.generic.signature import Signature, base_name, diffusers_version, is_library, signature_of
from engine.families.spec import DENOISERS, FamilySpec, Footprint, Part, Read, WeightKeys, presets
from engine.spec import ModelSpec

_WEIGHTLESS = re.compile(r"Tokenizer|Scheduler|Processor|Extractor")
"""In the names of classes that have no tensors."""

_IMAGE_ENCODER = "image_encoder"
"""A part that reads pictures for IP adapters, which are not used; few pipelines need it for something else."""

_PACKAGES: Mapping[str, tuple[str, str]] = {
    "ChatGLMTokenizer": ("sentencepiece", "pip install 'easel[kolors]'"),
    "Qwen2VLProcessor": ("torchvision", "pip install torchvision, in the version for your PyTorch"),
    "Qwen2_5_VLProcessor": ("torchvision", "pip install torchvision, in the version for your PyTorch"),
}
"""Classes that need a package which Easel does not install: the package, and how to get it."""

_CLIP_TOKENS = 75
_SIDES = range(64, 4097)
_STEPS = 28
_NO_GUIDANCE = Range(0.0, 0.0, 0.0)

_NEVER = re.compile(r"(?!)")


def describe(
    table: Mapping[str, KnownPipeline], base: FamilySpec, folder: Path, index: Mapping[str, object], read: Read
) -> FamilySpec:
    """Return the spec of the pipeline in a folder. Its first model has the defaults of the folder.

    Args:
        table: What is known of pipelines, by class.
        base: The spec of the family.
        folder: The folder.
        index: Its ``model_index.json``.
        read: Reads the other JSON files.

    Raises:
        UnknownModel: Easel can't draw with it; one sentence says why.
    """
    signature = _signature(folder, index)
    known = table.get(signature.name) or arguments.unknown(signature)
    unused = ("safety_checker", *({_IMAGE_ENCODER} - signature.parts), *known.unused)
    omitted: dict[str, object] = {name: None for name in unused if name in index}
    parts = dict(_parts(folder, index, omitted.keys()))
    denoiser = next((name for name in parts if name in DENOISERS), "")
    if not denoiser:
        raise UnknownModel(f"The model in {folder} has neither a transformer nor a unet, and Easel draws with those.")
    # Where the index has null for a part, the pipeline does without.
    if lacking := sorted(signature.parts - index.keys()):
        raise UnknownModel(
            f"The model in {folder} names no {lacking[0]}, which a {signature.name} draws with: it is no whole pipeline."
        )
    config = read(folder / denoiser / "config.json")
    side = _side(folder, parts, config, read) or known.side
    usual = _profile(base, signature, known, frozenset(parts), side, config, index)
    return replace(
        base,
        title=signature.name,
        pipelines=(signature.name,),
        parts=parts,
        omitted=omitted,
        denoiser=denoiser,
        native_side=side,
        multiple=known.multiple,
        models=(
            ModelSpec(usual),
            *(model for model in base.models if model.profile.pipeline == signature.name),
        ),
    )


def _signature(folder: Path, index: Mapping[str, object]) -> Signature:
    named = index.get("_class_name")
    if named is None:
        raise UnknownModel(f"The model_index.json in {folder} names no pipeline class: copy the model again.")
    if not isinstance(named, str):
        raise UnknownModel(
            f"The model in {folder} needs code of its own for its pipeline ({named!r}), and Easel runs no code that comes "
            "with a model."
        )
    found = signature_of(base_name(named))
    if found is None:
        raise UnknownModel(
            f"The model in {folder} is a {named!r}, a class that diffusers {diffusers_version()} does not have: it needs "
            "another version, or code of its own, which Easel does not run."
        )
    if not found.draws:
        raise UnknownModel(
            f"The model in {folder} is a {named!r}, which Easel can't draw with: it makes no pictures from prompts."
        )
    if not found.pausable:
        raise UnknownModel(
            f"The model in {folder} is a {named!r}, which Easel can't draw with: its call can't be paused between two "
            "steps (it has no callback_on_step_end)."
        )
    return found


def _parts(folder: Path, index: Mapping[str, object], omitted: Collection[str]) -> Iterator[tuple[str, Part]]:
    for name, kind in index.items():
        if name.startswith("_") or name in omitted or not isinstance(kind, list) or len(kind) != 2:
            continue
        library, made = kind
        if library is None or made is None:
            continue  # the pipeline does without
        if not (isinstance(library, str) and isinstance(made, str) and made.isidentifier() and is_library(library)):
            raise UnknownModel(
                f"The model in {folder} needs code of its own for its {name} ({library}.{made}), and Easel runs no code "
                "that comes with a model."
            )
        if not (folder / name).is_dir():
            raise UnknownModel(f"The model in {folder} is damaged: its folder {name!r} is missing; copy it again.")
        package, how = _PACKAGES.get(made, ("", ""))
        if package and find_spec(package) is None:
            raise UnknownModel(f"The model in {folder} needs the package {package} for its {name}: {how}.")
        yield name, Part(library, frozenset({made}), weights=_WEIGHTLESS.search(made) is None)


def _side(folder: Path, parts: Mapping[str, Part], denoiser: Mapping[str, object], read: Read) -> int:
    """Return the side of the native square in pixels that the configs state; 0 where they state none."""
    vae = read(folder / "vae" / "config.json") if "vae" in parts else {}
    blocks = vae.get("block_out_channels")
    scale = 2 ** (len(blocks) - 1) if isinstance(blocks, list) and blocks else 8
    latents, pixels = denoiser.get("sample_size"), vae.get("sample_size")
    for side in (latents * scale if isinstance(latents, int) else None, pixels):
        if isinstance(side, int) and side in _SIDES:
            return side
    return 0


def _profile(  # noqa: PLR0917 - each argument decides the profile
    base: FamilySpec,
    signature: Signature,
    known: KnownPipeline,
    parts: frozenset[str],
    side: int,
    config: Mapping[str, object],
    index: Mapping[str, object],
) -> Profile:
    """Return the defaults of a folder: those of a known model of its class, or what its signature says."""
    embedded = config.get("guidance_embeds") is True
    argument = guidance_argument(signature, known, embedded=embedded)
    distilled = index.get("is_distilled") is True or not argument
    like = _like(base, signature.name, distilled=distilled)
    default = signature.arguments.get(argument)
    guidance = float(default) if isinstance(default, int | float) else 1.0
    steps = signature.arguments.get("num_inference_steps")
    tokens = known.prompt_tokens or signature.arguments.get("max_sequence_length")
    negates = signature.takes("negative_prompt") and not distilled and not embedded
    grid = max(known.multiple, base.multiple)
    side = max(grid, round(side / grid) * grid)
    made = Profile(
        name="folder",
        title=signature.name,
        source="",
        family=base.name,
        multiple=known.multiple,
        side=Range(side, max(grid, side // 2 // grid * grid), side * 2),
        presets=presets(side, grid),
        steps=Range(steps if isinstance(steps, int) and steps > 0 else _STEPS, 1, 100),
        guidance=_NO_GUIDANCE if distilled else Range(guidance, 0.0, max(20.0, guidance)),
        negative=NegativePromptSupport.WITH_GUIDANCE if negates else NegativePromptSupport.NEVER,
        languages=known.languages,
        pipeline=signature.name,
        prompt_tokens=tokens if isinstance(tokens, int) and tokens > 0 else _CLIP_TOKENS,
        can=(can := arguments.capabilities(signature, known, parts)),
        references=known.references if Capability.EDIT in can else 0,
        needs_reference=known.needs_reference,
    )
    if like is None:
        return made
    return replace(made, steps=like.steps, guidance=like.guidance, negative=like.negative)


def _like(base: FamilySpec, pipeline: str, *, distilled: bool) -> Profile | None:
    """Return the first known model of a class that is drawn with guidance, or without it where it was distilled."""
    profiles = (model.profile for model in base.models if model.profile.pipeline == pipeline)
    return next((p for p in profiles if (p.guidance.low == p.guidance.high) is distilled), None)


SPEC = FamilySpec(
    name=NAME,
    title="another diffusers pipeline",
    released=date.min,  # listed behind all others
    model_class="Generic",
    pipelines=(),
    parts={},
    denoiser="transformer",
    native_side=1024,
    native_side_key=("vae", "sample_size"),
    multiple=16,
    # Nothing is recognised by the names of its tensors.
    keys=WeightKeys(
        pattern=_NEVER, layers="(?!)", width_pattern=_NEVER, width_key="", architecture="another diffusers pipeline"
    ),
    footprint=Footprint(
        parameters={"transformer": 6_154_908_736, "text_encoder": 4_022_468_096, "vae": 83_819_683},
        token_side=16,
        prompt_tokens=512,
        activations=91_200,
        attention_heads=30,
        attention_side=16,
        linear_share={"transformer": 0.99, "unet": 0.85, "text_encoder": 0.9},
        largest_layer=60_000_000,
        block_pair=536_870_912,
        text_pair=1_000_000_000,
        text_activations=200_000_000,
        fp16=False,
        vae_fp16=False,
        casts=False,
    ),
    models=MODELS,
    describe=partial(describe, PIPELINES),
)
