"""Stable Diffusion 1.5 (arXiv 2112.10752): StableDiffusionPipeline with a UNet and one CLIP text encoder."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from engine.contract import NegativePromptSupport, Profile, Range
from engine.families import unet_spec
from engine.families.spec import FamilySpec, Footprint, presets, priced
from engine.samplers import NOISE
from engine.spec import ModelSpec

_PIPELINE = "StableDiffusionPipeline"
_MULTIPLE = 8

# Counted from the published files' headers and configs.
_PARAMETERS: Mapping[str, int] = {"unet": 859_520_964, "text_encoder": 123_060_480, "vae": 83_653_863}


def sd15() -> Profile:
    """Return the profile of Stable Diffusion v1.5. The default guidance is the pipeline's."""
    return priced(
        Profile(
            name="sd15",
            title="Stable Diffusion v1.5",
            source="stable-diffusion-v1-5/stable-diffusion-v1-5",
            family="sd15",
            multiple=_MULTIPLE,
            side=Range(512, 256, 1024),
            presets=presets(512, unet_spec.TRAINED_MULTIPLE),
            steps=Range(25, 1, 100),
            guidance=Range(7.5, 1.0, 20.0),
            negative=NegativePromptSupport.WITH_GUIDANCE,
            licence="CreativeML Open RAIL-M",
            pipeline=_PIPELINE,
            scheduler=unet_spec.EULER,
            negative_default="lowres, blurry, bad anatomy, deformed hands",
            prompt_tokens=unet_spec.CLIP_TOKENS,
            samplers=tuple(NOISE),
            prompt_syntax=True,
            clip_skip=1,
            parameters=_PARAMETERS,
        )
    )


SPEC = FamilySpec(
    name="sd15",
    title="Stable Diffusion 1.5",
    released=date(2022, 10, 20),
    model_class="SD15",
    pipelines=(_PIPELINE, "StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline"),
    parts={
        "unet": unet_spec.UNET,
        "text_encoder": unet_spec.CLIP,
        "tokenizer": unet_spec.TOKENIZER,
        "vae": unet_spec.VAE,
        "scheduler": unet_spec.SCHEDULER,
    },
    # A community's moderation decides what may be drawn, for every model alike; the safety checker is not used.
    omitted={
        "safety_checker": None,
        "feature_extractor": None,
        "image_encoder": None,
        "requires_safety_checker": False,
    },
    denoiser="unet",
    native_side=512,
    native_side_key=("unet", "sample_size"),
    native_side_in_latents=True,
    input_channels=unet_spec.INPUT_CHANNELS,
    multiple=_MULTIPLE,
    trained_multiple=unet_spec.TRAINED_MULTIPLE,
    schedulers=unet_spec.SCHEDULERS,
    samplers=NOISE,
    single_file=unet_spec.SINGLE_FILE,
    keys=unet_spec.weight_keys(768),
    lora_parts=("unet", "text_encoder"),
    controlnet=unet_spec.CONTROLNET,
    controlnet_config={"addition_embed_type": None},
    footprint=Footprint(
        parameters=_PARAMETERS,
        token_side=8,
        prompt_tokens=0,
        activations=8_340,
        attention_heads=8,
        attention_side=8,
        linear_share={"unet": 0.3142, "text_encoder": 0.6902},
        largest_layer=29_492_480,
        block_pair=420_572_160,
        text_pair=45_033_216,
        text_activations=5_000_000,
        fp16=True,
        vae_fp16=True,
    ),
    models=(ModelSpec(sd15()),),
)
