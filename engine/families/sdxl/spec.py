"""SDXL (arXiv 2307.01952): StableDiffusionXLPipeline with a UNet and two CLIP text encoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date

from engine.contract import LicenceTerm, NegativePromptSupport, Profile, Range
from engine.families import unet_spec
from engine.families.spec import FamilySpec, Footprint, Part, presets, priced
from engine.samplers import NOISE
from engine.spec import ModelSpec

CLIP_SKIP = 2
"""SDXL was trained with the penultimate layers of its text encoders, which A1111 calls clip skip 2."""

_PIPELINE = "StableDiffusionXLPipeline"
_MULTIPLE = 8
_TRAILING: Mapping[str, str] = {"timestep_spacing": "trailing"}

# Counted from the published files' headers and configs.
_PARAMETERS: Mapping[str, int] = {
    "unet": 2_567_463_684,
    "text_encoder": 123_060_480,
    "text_encoder_2": 694_659_840,
    "vae": 83_653_863,
}


def sdxl() -> Profile:
    """Return the profile of SDXL 1.0; its refiner is not used. The default guidance is the pipeline's."""
    return priced(
        Profile(
            name="sdxl",
            title="SDXL 1.0",
            source="stabilityai/stable-diffusion-xl-base-1.0",
            family="sdxl",
            multiple=_MULTIPLE,
            side=Range(1024, 512, 2048),
            presets=presets(1024, unet_spec.TRAINED_MULTIPLE),
            steps=Range(30, 1, 100),
            guidance=Range(5.0, 1.0, 20.0),
            negative=NegativePromptSupport.WITH_GUIDANCE,
            licence="CreativeML Open RAIL++-M",
            pipeline=_PIPELINE,
            scheduler=unet_spec.EULER,
            prompt_tokens=unet_spec.CLIP_TOKENS,
            samplers=tuple(NOISE),
            prompt_syntax=True,
            clip_skip=CLIP_SKIP,
            parameters=_PARAMETERS,
        )
    )


def sdxl_turbo() -> Profile:
    """Return the profile of SDXL-Turbo: 1 to 4 steps without guidance, so that negative prompts are ignored.

    Scheduler and timesteps are those of its repository.
    """
    return priced(
        replace(
            sdxl(),
            name="sdxl-turbo",
            title="SDXL-Turbo",
            source="stabilityai/sdxl-turbo",
            side=Range(512, 256, 1024),
            presets=presets(512, unet_spec.TRAINED_MULTIPLE),
            steps=Range(4, 1, 4),
            guidance=Range(0.0, 0.0, 0.0),
            negative=NegativePromptSupport.NEVER,
            licence="Stability AI Non-Commercial",
            licence_terms=(LicenceTerm.NON_COMMERCIAL,),
            scheduler="EulerAncestralDiscreteScheduler",
            sampler="Euler a",
            scheduler_config=_TRAILING,
        )
    )


def sdxl_lightning() -> Profile:
    """Return the profile of SDXL-Lightning's 4-step UNet (arXiv 2402.13929), which replaces the UNet of SDXL.

    It was distilled for exactly 4 steps, without guidance, at the trailing timesteps.
    """
    return priced(
        replace(
            sdxl(),
            name="sdxl-lightning",
            title="SDXL-Lightning",
            source="ByteDance/SDXL-Lightning",
            steps=Range(4, 4, 4),
            guidance=Range(0.0, 0.0, 0.0),
            negative=NegativePromptSupport.NEVER,
            scheduler_config=_TRAILING,
        )
    )


def illustrious_xl() -> Profile:
    """Return the profile of Illustrious XL 0.1 (arXiv 2409.19946), for prompts of Danbooru's tags.

    Steps, guidance and sampler are those of its card.
    """
    return priced(
        replace(
            sdxl(),
            name="illustrious-xl",
            title="Illustrious XL 0.1",
            source="OnomaAIResearch/Illustrious-xl-early-release-v0",
            steps=Range(28, 1, 100),
            guidance=Range(6.0, 1.0, 20.0),
            licence="Fair AI Public License 1.0-SD",
            scheduler="EulerAncestralDiscreteScheduler",
        )
    )


def noobai_xl() -> Profile:
    """Return the profile of NoobAI-XL 1.0, trained from Illustrious XL with v-prediction and a zero terminal SNR."""
    return priced(
        replace(
            illustrious_xl(),
            name="noobai-xl",
            title="NoobAI-XL 1.0 v-prediction",
            source="Laxhar/noobai-XL-Vpred-1.0",
            guidance=Range(5.0, 1.0, 20.0),
            negative_default="worst quality, old, early, low quality, lowres, signature, username, logo, bad hands",
            licence_terms=(LicenceTerm.NON_COMMERCIAL,),
            scheduler=unet_spec.EULER,
            # It has to begin at the last timestep, which leading timesteps leave out (arXiv 2305.08891).
            scheduler_config={"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, **_TRAILING},
        )
    )


def pony_xl() -> Profile:
    """Return the profile of Pony Diffusion V6 XL, a single file that needs no negative prompt."""
    return priced(
        replace(
            sdxl(),
            name="pony-xl",
            title="Pony Diffusion V6 XL",
            source="AstraliteHeart/pony-diffusion-v6/v6.safetensors",
            steps=Range(25, 1, 100),
            guidance=Range(7.0, 1.0, 20.0),
            licence="Fair AI Public License 1.0-SD, modified",
            licence_terms=(LicenceTerm.NON_COMMERCIAL,),
            scheduler="EulerAncestralDiscreteScheduler",
        )
    )


SPEC = FamilySpec(
    name="sdxl",
    title="SDXL",
    released=date(2023, 7, 26),
    model_class="SDXL",
    pipelines=(_PIPELINE, "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"),
    parts={
        "unet": unet_spec.UNET,
        "text_encoder": unet_spec.CLIP,
        "text_encoder_2": Part("transformers", frozenset({"CLIPTextModelWithProjection"})),
        "tokenizer": unet_spec.TOKENIZER,
        "tokenizer_2": unet_spec.TOKENIZER,
        "vae": unet_spec.VAE,
        "scheduler": unet_spec.SCHEDULER,
    },
    omitted={"feature_extractor": None, "image_encoder": None},
    denoiser="unet",
    native_side=1024,
    native_side_key=("unet", "sample_size"),
    native_side_in_latents=True,
    input_channels=unet_spec.INPUT_CHANNELS,
    multiple=_MULTIPLE,
    trained_multiple=unet_spec.TRAINED_MULTIPLE,
    schedulers=unet_spec.SCHEDULERS,
    samplers=NOISE,
    single_file=unet_spec.SINGLE_FILE,
    keys=unet_spec.weight_keys(2048),
    lora_parts=("unet", "text_encoder", "text_encoder_2"),
    controlnet=unet_spec.CONTROLNET,
    controlnet_config={"addition_embed_type": "text_time"},
    footprint=Footprint(
        parameters=_PARAMETERS,
        token_side=8,
        prompt_tokens=0,
        activations=5_080,
        attention_heads=10,
        attention_side=16,
        linear_share={"unet": 0.8696, "text_encoder": 0.6902, "text_encoder_2": 0.908},
        largest_layer=29_492_480,
        block_pair=121_090_560,
        text_pair=82_919_680,
        text_activations=10_000_000,
        fp16=True,
        vae_fp16=False,
    ),
    models=(
        ModelSpec(sdxl()),
        ModelSpec(sdxl_turbo()),
        ModelSpec(
            sdxl_lightning(),
            base=sdxl().source,
            transformer=f"{sdxl_lightning().source}/sdxl_lightning_4step_unet.safetensors",
        ),
        ModelSpec(illustrious_xl()),
        ModelSpec(noobai_xl()),
        ModelSpec(pony_xl(), base=sdxl().source),
    ),
)
