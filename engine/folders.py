"""What a folder with a diffusers pipeline says of itself: its class, its parts, its size."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from engine import weights
from engine.contract import NegativePromptSupport, Profile, Range, UnknownModel
from engine.profiles import DEMO, known, presets, priced, sd15, sdxl, z_image_turbo
from engine.regular_files import read_json

FAMILIES: Mapping[str, str] = {
    "ZImagePipeline": "z_image",
    "ZImageImg2ImgPipeline": "z_image",
    "ZImageInpaintPipeline": "z_image",
    "StableDiffusionXLPipeline": "sdxl",
    "StableDiffusionXLImg2ImgPipeline": "sdxl",
    "StableDiffusionXLInpaintPipeline": "sdxl",
    "StableDiffusionPipeline": "sd15",
    "StableDiffusionImg2ImgPipeline": "sd15",
    "StableDiffusionInpaintPipeline": "sd15",
}
"""Which family draws a pipeline of this class."""

_SCHEDULERS = frozenset(
    {
        "DDIMScheduler",
        "DDPMScheduler",
        "DEISMultistepScheduler",
        "DPMSolverMultistepScheduler",
        "DPMSolverSinglestepScheduler",
        "EulerAncestralDiscreteScheduler",
        "EulerDiscreteScheduler",
        "HeunDiscreteScheduler",
        "KDPM2AncestralDiscreteScheduler",
        "KDPM2DiscreteScheduler",
        "LCMScheduler",
        "LMSDiscreteScheduler",
        "PNDMScheduler",
        "TCDScheduler",
        "UniPCMultistepScheduler",
    }
)
_CLIP_TOKENIZERS = frozenset({"CLIPTokenizer", "CLIPTokenizerFast", "TokenizersBackend"})

CLASSES: Mapping[str, Mapping[str, tuple[str, frozenset[str]]]] = {
    "z_image": {
        "transformer": ("diffusers", frozenset({"ZImageTransformer2DModel"})),
        "text_encoder": ("transformers", frozenset({"Qwen3Model", "Qwen3ForCausalLM"})),
        "tokenizer": (
            "transformers",
            frozenset({"Qwen2Tokenizer", "Qwen2TokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend"}),
        ),
        "vae": ("diffusers", frozenset({"AutoencoderKL"})),
        "scheduler": ("diffusers", frozenset({"FlowMatchEulerDiscreteScheduler"})),
    },
    "sdxl": {
        "unet": ("diffusers", frozenset({"UNet2DConditionModel"})),
        "text_encoder": ("transformers", frozenset({"CLIPTextModel"})),
        "text_encoder_2": ("transformers", frozenset({"CLIPTextModelWithProjection"})),
        "tokenizer": ("transformers", _CLIP_TOKENIZERS),
        "tokenizer_2": ("transformers", _CLIP_TOKENIZERS),
        "vae": ("diffusers", frozenset({"AutoencoderKL"})),
        "scheduler": ("diffusers", _SCHEDULERS),
    },
    "sd15": {
        "unet": ("diffusers", frozenset({"UNet2DConditionModel"})),
        "text_encoder": ("transformers", frozenset({"CLIPTextModel"})),
        "tokenizer": ("transformers", _CLIP_TOKENIZERS),
        "vae": ("diffusers", frozenset({"AutoencoderKL"})),
        "scheduler": ("diffusers", _SCHEDULERS),
    },
}
"""Library and classes that a part may be of: the libraries would make anything of theirs that is named."""

PARTS: Mapping[str, tuple[str, ...]] = {
    "z_image": ("transformer", "text_encoder", "tokenizer", "vae", "scheduler"),
    "sdxl": ("unet", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "vae", "scheduler"),
    "sd15": ("unet", "text_encoder", "tokenizer", "vae", "scheduler"),
}
"""What a family draws with."""

_SMALLEST, _LARGEST = 64, 4096
"""Native sides that a config is believed, in pixels."""

_COARSE = 512
"""Native side from which UNets draw best on a grid of 64, as they were trained."""

_LATENT_CHANNELS = 4
"""Of a UNet that draws from noise; those of 8 or 9 are told of a picture or a mask as well."""


def index_of(folder: Path) -> tuple[str, str]:
    """Return the class and the family of the pipeline in a folder.

    Raises:
        UnknownModel: It holds none that Easel can draw with, or one that is not whole; says which and why.
    """
    index = read(folder / "model_index.json")
    named = index.get("_class_name")
    family = FAMILIES.get(named) if isinstance(named, str) else None
    if family is None or not isinstance(named, str):
        able = ", ".join(name for name in FAMILIES if not name.endswith(("Img2ImgPipeline", "InpaintPipeline")))
        raise UnknownModel(f"The model in {folder} is a {named!r}, which Easel can't draw with; it can with {able}.")
    for part, kind in index.items():
        # The safety checker and its like, which nothing here draws with, may stay away.
        if part in PARTS[family] and isinstance(kind, list) and all(kind) and not (folder / part).is_dir():
            raise UnknownModel(f"The model in {folder} is damaged: its folder {part!r} is missing; copy it again.")
    for part in PARTS[family]:
        kind = index.get(part)
        if not (isinstance(kind, list) and len(kind) == 2 and all(isinstance(k, str) for k in kind)):
            raise UnknownModel(
                f"The model in {folder} names no {part}, which a {named} draws with: it is no whole pipeline."
            )
        if kind[0] not in ("diffusers", "transformers"):
            raise UnknownModel(
                f"The model in {folder} wants its {part} to be made by code ({'.'.join(kind)}), and Easel runs no "
                "code that comes with a model."
            )
        library, classes = CLASSES[family][part]
        if kind[0] != library or kind[1] not in classes:
            raise UnknownModel(
                f"The model in {folder} has a {'.'.join(kind)} as its {part}, which Easel can't draw with; it can with "
                f"{', '.join(f'{library}.{name}' for name in sorted(classes))}."
            )
    return named, family


def profile_of(folder: Path) -> Profile:
    """Return the profile of the pipeline in a folder. Raises UnknownModel as ``index_of`` does."""
    named, family = index_of(folder)
    full = folder.resolve()
    name = re.sub(r"[^a-z0-9._-]+", "-", full.name.lower()).strip("-.") or "folder"
    side = _native(folder, family)
    usual = _namesake(name, family) or _usual(family)
    usual = usual if side == usual.side.default else sized(usual, side)
    parameters = {part: count for part in PARTS[family] if (count := weights.parameters(folder / part))}
    return priced(
        replace(
            usual,
            name=name,
            title=full.name,
            source=str(full),
            pipeline=named,
            parameters=dict(usual.parameters) | parameters,
        )
    )


def sized(profile: Profile, side: int) -> Profile:
    """Return the profile with another native square, of ``side`` pixels, and sides from half of it to twice."""
    grid = profile.multiple if profile.family == "z_image" or side < _COARSE else 64
    side = max(grid, round(side / grid) * grid)
    return replace(profile, side=Range(side, max(64, side // 32 * 16), side * 2), presets=presets(side, grid))


def read(path: Path) -> dict[str, object]:
    """Read a JSON object of a model's folder; raises UnknownModel with the reason."""
    found = read_value(path)
    if not isinstance(found, dict):
        raise UnknownModel(f"The model's file {path} is damaged: it is no JSON object; copy the model again.")
    return found


def read_value(path: Path) -> object:
    """Read a JSON file of a model's folder; raises UnknownModel with the reason."""
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


def _namesake(name: str, family: str) -> Profile | None:
    """Return the known model whose name, or whose repository's, the folder bears."""
    for spec in known():
        profile = spec.profile
        names = (profile.name, profile.source.rpartition("/")[2].lower())
        if profile.family == family and not spec.base and name in names and profile.name != DEMO:
            return profile
    return None


def _usual(family: str) -> Profile:
    """Return a profile for a folder that says neither how it was distilled nor for what: with room to try others."""
    like = {"z_image": z_image_turbo, "sdxl": sdxl, "sd15": sd15}[family]()
    guidance = replace(like.guidance, low=0.0, high=max(10.0, like.guidance.high))
    return replace(like, guidance=guidance, negative=NegativePromptSupport.WITH_GUIDANCE, licence="")


def _native(folder: Path, family: str) -> int:
    """Return the side of the pipeline's native square in pixels, as far as its configs are to be believed."""
    vae = read(folder / "vae" / "config.json")
    if family == "z_image":
        side, usual = vae.get("sample_size"), 1024
    else:
        unet = read(folder / "unet" / "config.json")
        channels = unet.get("in_channels", _LATENT_CHANNELS)
        if channels != _LATENT_CHANNELS:
            raise UnknownModel(
                f"The model in {folder} has a UNet of {channels} channels, made for inpainting or editing alone; "
                "Easel draws with those of 4, and inpaints with them too."
            )
        latent, blocks = unet.get("sample_size"), vae.get("block_out_channels")
        scale = 2 ** (len(blocks) - 1) if isinstance(blocks, list) and blocks else 8
        side, usual = latent * scale if isinstance(latent, int) else None, 1024 if family == "sdxl" else 512
    return side if isinstance(side, int) and _SMALLEST <= side <= _LARGEST else usual
