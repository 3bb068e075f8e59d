"""The models that Easel knows by name: their defaults, their limits, and what each ignores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources

from engine.contract import NegativePromptSupport, Profile, Range
from engine.spec import ModelSpec

DEMO = "demo"
"""What EASEL_MODEL says for the bundled model."""

_RATIOS: Mapping[str, tuple[int, int]] = {
    "square": (1, 1),
    "portrait": (3, 4),
    "landscape": (4, 3),
    "tall": (9, 16),
    "wide": (16, 9),
}

# Counted from the published files' own headers and configs.
_Z_IMAGE_PARAMETERS: Mapping[str, int] = {
    "transformer": 6_154_908_736,
    "text_encoder": 4_022_468_096,
    "vae": 83_819_683,
}
_SDXL_PARAMETERS: Mapping[str, int] = {
    "unet": 2_567_463_684,
    "text_encoder": 123_060_480,
    "text_encoder_2": 694_659_840,
    "vae": 83_653_863,
}
_SD15_PARAMETERS: Mapping[str, int] = {"unet": 859_520_964, "text_encoder": 123_060_480, "vae": 83_653_863}

_CLIP_TOKENS = 75
"""CLIP reads 77, of which two mark the beginning and the end."""

_TRAINED_GRID = 64
"""Stable Diffusion was trained on sides that are multiples of this; it draws multiples of 8."""

_REFERENCE_SIDE, _REFERENCE_STEPS = 1024, 8
"""Z-Image-Turbo's usual picture, which costs one point."""

_EULER = "EulerDiscreteScheduler"


def known() -> tuple[ModelSpec, ...]:
    """Return every model that Easel knows by name, the bundled one first."""
    return (
        ModelSpec(demo()),
        ModelSpec(z_image_turbo()),
        ModelSpec(z_image()),
        ModelSpec(sdxl()),
        ModelSpec(sdxl_turbo()),
        ModelSpec(
            sdxl_lightning(),
            base=sdxl().source,
            transformer=f"{sdxl_lightning().source}/sdxl_lightning_4step_unet.safetensors",
        ),
        ModelSpec(sd15()),
    )


def demo() -> Profile:
    """Return the profile of the bundled demo model; its limits are those of its card, ``engine/demo/README.md``."""
    return Profile(
        name=DEMO,
        title="Easel demo",
        source=str(resources.files("engine.demo") / "model"),
        family="z_image",
        multiple=16,
        side=Range(192, 64, 512),
        presets=presets(192, 16),
        steps=Range(8, 1, 50),
        # Trained with empty captions too, so that guidance works; the most that still looks like something.
        guidance=Range(0.0, 0.0, 5.0),
        negative=NegativePromptSupport.WITH_GUIDANCE,
        languages=("en", "zh"),
        licence="Apache-2.0",
        enlarge=3,
        parameters={"transformer": 5_728_480, "text_encoder": 1_196_880, "vae": 1_674_963},
    )


def z_image_turbo() -> Profile:
    """Return the profile of Z-Image-Turbo; it is distilled to draw without guidance, so negative prompts do nothing."""
    return priced(
        Profile(
            name="z-image-turbo",
            title="Z-Image-Turbo",
            source="Tongyi-MAI/Z-Image-Turbo",
            family="z_image",
            multiple=16,
            side=Range(1024, 512, 2048),
            presets=presets(1024, 16),
            steps=Range(8, 1, 50),
            guidance=Range(0.0, 0.0, 0.0),
            negative=NegativePromptSupport.NEVER,
            languages=("en", "zh"),
            licence="Apache-2.0",
            parameters=_Z_IMAGE_PARAMETERS,
        )
    )


def z_image() -> Profile:
    """Return the profile of Z-Image, which Turbo was distilled from: real guidance, 3 to 5, and 28 to 50 steps."""
    return priced(
        Profile(
            name="z-image",
            title="Z-Image",
            source="Tongyi-MAI/Z-Image",
            family="z_image",
            multiple=16,
            side=Range(1024, 512, 2048),
            presets=presets(1024, 16),
            steps=Range(28, 1, 100),
            guidance=Range(4.0, 1.0, 10.0),
            negative=NegativePromptSupport.WITH_GUIDANCE,
            languages=("en", "zh"),
            licence="Apache-2.0",
            parameters=_Z_IMAGE_PARAMETERS,
        )
    )


def sdxl() -> Profile:
    """Return the profile of SDXL 1.0 (arXiv 2307.01952); its refiner is not used. Guidance is the pipeline's default."""
    return priced(
        Profile(
            name="sdxl",
            title="SDXL 1.0",
            source="stabilityai/stable-diffusion-xl-base-1.0",
            family="sdxl",
            multiple=8,
            side=Range(1024, 512, 2048),
            presets=presets(1024, _TRAINED_GRID),
            steps=Range(30, 1, 100),
            guidance=Range(5.0, 1.0, 20.0),
            negative=NegativePromptSupport.WITH_GUIDANCE,
            licence="CreativeML Open RAIL++-M",
            pipeline="StableDiffusionXLPipeline",
            scheduler=_EULER,
            prompt_tokens=_CLIP_TOKENS,
            parameters=_SDXL_PARAMETERS,
        )
    )


def sdxl_turbo() -> Profile:
    """Return the profile of SDXL-Turbo: 1 to 4 steps without guidance, so negative prompts do nothing.

    Sampler and timesteps are its repository's own.
    """
    return priced(
        Profile(
            name="sdxl-turbo",
            title="SDXL-Turbo",
            source="stabilityai/sdxl-turbo",
            family="sdxl",
            multiple=8,
            side=Range(512, 256, 1024),
            presets=presets(512, _TRAINED_GRID),
            steps=Range(4, 1, 4),
            guidance=Range(0.0, 0.0, 0.0),
            negative=NegativePromptSupport.NEVER,
            licence="Stability AI Non-Commercial",
            pipeline="StableDiffusionXLPipeline",
            scheduler="EulerAncestralDiscreteScheduler",
            scheduler_config={"timestep_spacing": "trailing"},
            prompt_tokens=_CLIP_TOKENS,
            parameters=_SDXL_PARAMETERS,
        )
    )


def sdxl_lightning() -> Profile:
    """Return the profile of SDXL-Lightning's UNet for 4 steps (arXiv 2402.13929), which takes the place of SDXL's.

    It is right for that many steps alone, without guidance, and at the trailing timesteps.
    """
    return priced(
        Profile(
            name="sdxl-lightning",
            title="SDXL-Lightning",
            source="ByteDance/SDXL-Lightning",
            family="sdxl",
            multiple=8,
            side=Range(1024, 512, 2048),
            presets=presets(1024, _TRAINED_GRID),
            steps=Range(4, 4, 4),
            guidance=Range(0.0, 0.0, 0.0),
            negative=NegativePromptSupport.NEVER,
            licence="CreativeML Open RAIL++-M",
            pipeline="StableDiffusionXLPipeline",
            scheduler=_EULER,
            scheduler_config={"timestep_spacing": "trailing"},
            prompt_tokens=_CLIP_TOKENS,
            parameters=_SDXL_PARAMETERS,
        )
    )


def sd15() -> Profile:
    """Return the profile of Stable Diffusion v1.5 (arXiv 2112.10752). Guidance is the pipeline's default."""
    return priced(
        Profile(
            name="sd15",
            title="Stable Diffusion v1.5",
            source="stable-diffusion-v1-5/stable-diffusion-v1-5",
            family="sd15",
            multiple=8,
            side=Range(512, 256, 1024),
            presets=presets(512, _TRAINED_GRID),
            steps=Range(25, 1, 100),
            guidance=Range(7.5, 1.0, 20.0),
            negative=NegativePromptSupport.WITH_GUIDANCE,
            licence="CreativeML Open RAIL-M",
            pipeline="StableDiffusionPipeline",
            scheduler=_EULER,
            negative_default="lowres, blurry, bad anatomy, deformed hands",
            prompt_tokens=_CLIP_TOKENS,
            parameters=_SD15_PARAMETERS,
        )
    )


def priced(profile: Profile) -> Profile:
    """Return the profile with what its usual picture costs beside one of Z-Image-Turbo: parameters that denoise, times
    pixels, times steps, twice where its guidance takes a second pass. One whose parameters are unknown keeps its cost.
    """
    parameters = _denoising(profile.parameters)
    if not parameters:
        return profile
    passes = 2 if profile.guidance.default > 1 else 1
    work = parameters * profile.side.default**2 * profile.steps.default * passes
    return replace(profile, cost=work / (_denoising(_Z_IMAGE_PARAMETERS) * _REFERENCE_SIDE**2 * _REFERENCE_STEPS))


def _denoising(parameters: Mapping[str, int]) -> int:
    return parameters.get("transformer", 0) + parameters.get("unet", 0)


def presets(side: int, multiple: int) -> Mapping[str, tuple[int, int]]:
    """Return the sizes of the five ratios at the area ``side * side``, on the grid of ``multiple``."""

    def near(length: float) -> int:
        return max(multiple, round(length / multiple) * multiple)

    return {name: (near(side * math.sqrt(w / h)), near(side * math.sqrt(h / w))) for name, (w, h) in _RATIOS.items()}
