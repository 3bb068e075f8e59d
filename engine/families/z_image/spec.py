"""Z-Image: ZImagePipeline with a Qwen3 text encoder and a flow-matching scheduler."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from importlib import resources

from engine.contract import NegativePromptSupport, Profile, Range
from engine.families.spec import FamilySpec, Footprint, Part, WeightKeys, presets, priced
from engine.samplers import FLOW
from engine.spec import ModelSpec

MAX_TOKENS = 512
"""Tokens of a prompt that ZImagePipeline reads, its chat template included."""

_PIPELINE = "ZImagePipeline"
_MULTIPLE = 16
_LANGUAGES = ("en", "zh")

# Counted from the published files' headers and configs.
_PARAMETERS: Mapping[str, int] = {
    "transformer": 6_154_908_736,
    "text_encoder": 4_022_468_096,
    "vae": 83_819_683,
}


def demo() -> Profile:
    """Return the profile of the bundled demo model; its limits are those of its card, ``engine/demo/README.md``."""
    files = resources.files("engine.demo")
    return Profile(
        name="demo",
        title="Easel demo",
        source=str(files / "model"),
        family="z_image",
        multiple=_MULTIPLE,
        side=Range(192, 64, 512),
        presets=presets(192, _MULTIPLE),
        steps=Range(8, 1, 50),
        # Trained with empty captions too, so that guidance works; above 5 its pictures fall apart.
        guidance=Range(0.0, 0.0, 5.0),
        negative=NegativePromptSupport.WITH_GUIDANCE,
        languages=_LANGUAGES,
        licence="Apache-2.0",
        enlarge=3,
        pipeline=_PIPELINE,
        prompt_tokens=MAX_TOKENS,
        samplers=tuple(FLOW),
        parameters={"transformer": 5_728_480, "text_encoder": 1_196_880, "vae": 1_674_963},
        vocabulary=frozenset((files / "vocabulary.txt").read_text(encoding="utf-8").split()),
        demo=True,
    )


def z_image_turbo() -> Profile:
    """Return the profile of Z-Image-Turbo. It is distilled to draw without guidance and ignores negative prompts."""
    return priced(
        Profile(
            name="z-image-turbo",
            title="Z-Image-Turbo",
            source="Tongyi-MAI/Z-Image-Turbo",
            family="z_image",
            multiple=_MULTIPLE,
            side=Range(1024, 512, 2048),
            presets=presets(1024, _MULTIPLE),
            steps=Range(8, 1, 50),
            guidance=Range(0.0, 0.0, 0.0),
            negative=NegativePromptSupport.NEVER,
            languages=_LANGUAGES,
            licence="Apache-2.0",
            pipeline=_PIPELINE,
            prompt_tokens=MAX_TOKENS,
            samplers=tuple(FLOW),
            parameters=_PARAMETERS,
            expands=True,
        )
    )


def z_image() -> Profile:
    """Return the profile of Z-Image, which Turbo was distilled from. Published for guidance 3 to 5 and 28 to 50 steps."""
    return priced(
        replace(
            z_image_turbo(),
            name="z-image",
            title="Z-Image",
            source="Tongyi-MAI/Z-Image",
            steps=Range(28, 1, 100),
            guidance=Range(4.0, 1.0, 10.0),
            negative=NegativePromptSupport.WITH_GUIDANCE,
        )
    )


SPEC = FamilySpec(
    name="z_image",
    title="Z-Image",
    released=date(2025, 11, 26),
    model_class="ZImage",
    pipelines=(_PIPELINE, "ZImageImg2ImgPipeline", "ZImageInpaintPipeline"),
    parts={
        "transformer": Part("diffusers", frozenset({"ZImageTransformer2DModel"})),
        "text_encoder": Part("transformers", frozenset({"Qwen3Model", "Qwen3ForCausalLM"})),
        "tokenizer": Part(
            "transformers",
            frozenset({"Qwen2Tokenizer", "Qwen2TokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend"}),
            weights=False,
        ),
        "vae": Part("diffusers", frozenset({"AutoencoderKL"})),
        "scheduler": Part("diffusers", frozenset({"FlowMatchEulerDiscreteScheduler"}), weights=False),
    },
    denoiser="transformer",
    native_side=1024,
    native_side_key=("vae", "sample_size"),
    multiple=_MULTIPLE,
    unguided_below=0.0,  # its scale counts from there: positive + guidance * (positive - negative)
    keys=WeightKeys(
        pattern=re.compile(
            r"(?:^|[._])(?:layers|noise_refiner|context_refiner)[._]\d+[._](?:attention|feed_forward|adaLN)"
        ),
        layers="layers|noise_refiner|context_refiner",
        parameters=re.compile(r"\w*pad_token"),
        unused=re.compile(r"norm_final\.weight"),  # of Lumina 2, and kept by tools
        width_pattern=re.compile(
            r"[._]attention[._](?:to_q|qkv)(?:\.weight|[._]lora[._](?:down|A)\.(?:\w+\.)?weight)$"
        ),
        width_key="dim",
        architecture="Z-Image",
    ),
    samplers=FLOW,
    lora_parts=("transformer",),
    controlnet="ZImageControlNetModel",
    control_marker="control_all_x_embedder.2-1.weight",
    footprint=Footprint(
        parameters=_PARAMETERS,
        token_side=16,
        prompt_tokens=MAX_TOKENS,
        activations=60_800,
        attention_heads=30,
        attention_side=16,
        linear_share={"transformer": 0.9998, "text_encoder": 0.9033},
        largest_layer=39_321_600,
        block_pair=361_820_672,
        text_pair=489_886_976,
        text_activations=103_000_000,
        fp16=False,
        vae_fp16=False,
        clamped_fp16=True,
    ),
    models=(ModelSpec(z_image_turbo()), ModelSpec(z_image()), ModelSpec(demo())),
)
