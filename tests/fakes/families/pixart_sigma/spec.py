"""PixArt-Sigma (arXiv 2403.04692): PixArtSigmaPipeline with a T5 text encoder and a cross-attention transformer.

Its parameters and memory figures are rough: only a small model of random weights is drawn with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date

from engine.contract import NegativePromptSupport, Profile, Range
from engine.families import unet_spec
from engine.families.spec import FamilySpec, Footprint, Part, WeightKeys, presets, priced
from engine.spec import ModelSpec

MAX_TOKENS = 300

_PIPELINE = "PixArtSigmaPipeline"
_MULTIPLE = 16
_PARAMETERS: Mapping[str, int] = {
    "transformer": 610_856_096,
    "text_encoder": 4_762_310_656,
    "vae": 83_653_863,
}

SPEC = FamilySpec(
    name="pixart_sigma",
    title="PixArt-Sigma",
    released=date(2024, 4, 9),
    model_class="PixArtSigma",
    pipelines=(_PIPELINE,),
    parts={
        "transformer": Part("diffusers", frozenset({"PixArtTransformer2DModel"})),
        "text_encoder": Part("transformers", frozenset({"T5EncoderModel"})),
        "tokenizer": Part("transformers", frozenset({"T5Tokenizer", "TokenizersBackend"}), weights=False),
        "vae": Part("diffusers", frozenset({"AutoencoderKL"})),
        "scheduler": unet_spec.SCHEDULER,
    },
    denoiser="transformer",
    native_side=1024,
    native_side_key=("transformer", "sample_size"),
    native_side_in_latents=True,
    multiple=_MULTIPLE,
    schedulers=unet_spec.SCHEDULERS,
    keys=WeightKeys(
        pattern=re.compile(r"^(?:adaln_single|caption_projection|transformer_blocks\.\d+\.attn2)\."),
        layers="transformer_blocks|adaln_single|caption_projection",
        parameters=re.compile(r"scale_shift_table"),
        width_pattern=re.compile(r"attn2\.to_[kv]\.weight$"),
        width_key="cross_attention_dim",
        architecture="PixArt",
    ),
    footprint=Footprint(
        parameters=_PARAMETERS,
        token_side=16,
        prompt_tokens=MAX_TOKENS,
        activations=20_000,
        attention_heads=16,
        attention_side=16,
        linear_share={"transformer": 0.99, "text_encoder": 0.97},
        largest_layer=5_308_416,
        block_pair=42_478_464,
        text_pair=325_000_000,
        text_activations=30_000_000,
        fp16=True,
        vae_fp16=False,
    ),
    models=(
        ModelSpec(
            priced(
                Profile(
                    name="pixart-sigma",
                    title="PixArt-Sigma",
                    source="PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
                    family="pixart_sigma",
                    multiple=_MULTIPLE,
                    side=Range(1024, 512, 2048),
                    presets=presets(1024, _MULTIPLE),
                    steps=Range(20, 1, 100),
                    guidance=Range(4.5, 1.0, 20.0),
                    negative=NegativePromptSupport.WITH_GUIDANCE,
                    licence="CreativeML Open RAIL++-M",
                    pipeline=_PIPELINE,
                    scheduler="DPMSolverMultistepScheduler",
                    prompt_tokens=MAX_TOKENS,
                    parameters=_PARAMETERS,
                )
            )
        ),
    ),
)
