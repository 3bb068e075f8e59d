"""What SDXL and Stable Diffusion 1.5 have in common before torch is imported: classes, schedulers, tensor names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from engine.families.spec import Part, WeightKeys

TRAINED_MULTIPLE = 64
"""Stable Diffusion was trained on sides that are multiples of this; it can draw multiples of 8."""

CLIP_CHUNKS = 4
"""Most chunks of a prompt. CLIP reads 77 tokens at once, two of which mark the beginning and the end."""

CLIP_TOKENS = CLIP_CHUNKS * 75
"""Most tokens of a prompt."""

EULER = "EulerDiscreteScheduler"

SCHEDULERS = (
    EULER,
    "EulerAncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
    "DDIMScheduler",
    "LCMScheduler",
)
"""Schedulers that a profile may choose."""

CONTROLNET = "ControlNetModel"
"""Class of their ControlNets in diffusers."""

UNET = Part("diffusers", frozenset({"UNet2DConditionModel"}))
CLIP = Part("transformers", frozenset({"CLIPTextModel"}))
TOKENIZER = Part("transformers", frozenset({"CLIPTokenizer", "CLIPTokenizerFast", "TokenizersBackend"}), weights=False)
VAE = Part("diffusers", frozenset({"AutoencoderKL"}))
SCHEDULER = Part(
    "diffusers",
    frozenset(
        {
            *SCHEDULERS,
            "DDPMScheduler",
            "DEISMultistepScheduler",
            "DPMSolverSinglestepScheduler",
            "HeunDiscreteScheduler",
            "KDPM2AncestralDiscreteScheduler",
            "KDPM2DiscreteScheduler",
            "LMSDiscreteScheduler",
            "PNDMScheduler",
            "TCDScheduler",
        }
    ),
    weights=False,
)

SINGLE_FILE: Mapping[str, tuple[str, ...]] = {
    "VAE": ("first_stage_model.", "vae."),
    "text encoder": ("cond_stage_model.", "conditioner."),
    "UNet": ("model.diffusion_model.",),
}
"""The parts of a single-file checkpoint and how their keys begin."""

INPUT_CHANNELS = 4
"""Of a UNet that starts from noise; UNets of 8 or 9 take an image or a mask as well."""

_LORA_DOWN = r"(?:\.weight|[._]lora[._](?:down|A)\.(?:\w+\.)?weight)$"


def weight_keys(width: int) -> WeightKeys:
    """Return how the weights of a UNet family are recognised.

    Args:
        width: Channels of the prompt's embeddings, which the UNet's cross attention takes.
    """
    return WeightKeys(
        pattern=re.compile(r"(?:down_blocks|up_blocks|mid_block|input_blocks|output_blocks|middle_block)[._]"),
        layers=r"(?:down|up)_blocks|mid_block|(?:input|output)_blocks|middle_block",
        width_pattern=re.compile(r"attn2[._](?:processor[._])?to_[kv]" + _LORA_DOWN),
        width_key="cross_attention_dim",
        width=width,
        architecture="a Stable Diffusion",
        unsupported={1024: "Stable Diffusion 2"},
    )
