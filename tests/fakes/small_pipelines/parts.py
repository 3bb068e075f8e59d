"""Parts that several small pipelines share: tokenizers, text encoders, VAEs and schedulers with a few channels."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderKLFlux2, AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    PaddleOCRVLProcessor,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from tests.fakes.pipelines import clip_config, vae

WIDTH = 32
"""Channels of the embeddings that a text encoder returns, and of the denoisers."""

MEGAPIXEL_LEVELS = 6
"""Levels of the VAE where a pipeline scales its references to a million pixels.

The published VAEs have four. Two more leave a sixteenth of the latents, few enough for a CPU.
"""

_CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{{ m['content'][0]['text'] }}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_MARKS = tuple(
    f"<|{name}|>"
    for name in ("im_start", "im_end", "vision_start", "vision_end", "vision_pad", "image_pad", "video_pad")
)
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def flow_scheduler(**config: Any) -> FlowMatchEulerDiscreteScheduler:
    """Return a flow scheduler that shifts its timesteps by the picture's size, as most of these models do."""
    return FlowMatchEulerDiscreteScheduler(**{"shift": 3.0, "use_dynamic_shifting": True} | config)


def flux_vae(levels: int = 4) -> AutoencoderKL:
    """Return a VAE with Flux's 16 latent channels; a latent is 2 ** (levels - 1) pixels wide."""
    channels = (4, 8, *(16,) * (levels - 2))
    return vae(latent_channels=16, channels=channels, scaling_factor=0.3611, shift_factor=0.1159)


def flux2_vae() -> AutoencoderKLFlux2:
    """Return FLUX.2's VAE, whose batch norm holds the latents' mean and variance."""
    made = AutoencoderKLFlux2(
        block_out_channels=(8, 8, 16, 16), norm_num_groups=4, layers_per_block=1, latent_channels=32, sample_size=64
    )
    with torch.no_grad():
        made.bn.running_mean.normal_(std=0.1)
        made.bn.running_var.uniform_(0.5, 2)
        made.decoder.conv_out.weight.mul_(1.5)
        made.encoder.conv_out.weight.mul_(3)
    return made.eval()


def qwen_vae(levels: int = 4) -> AutoencoderKLQwenImage:
    """Return Qwen-Image's VAE, which is one of videos; a latent is 2 ** (levels - 1) pixels wide."""
    made = AutoencoderKLQwenImage(
        base_dim=2,
        dim_mult=[1, 2, *(4,) * (levels - 2)],
        num_res_blocks=1,
        temperal_downsample=[False, *(True,) * (levels - 2)],
    )
    with torch.no_grad():
        made.decoder.conv_out.weight.mul_(4)
    return made


def qwen_tokenizer() -> Qwen2Tokenizer:
    """Return a byte-level tokenizer with Qwen's marks, a token for each byte, and a chat template."""
    made = Qwen2Tokenizer(
        vocab={letter: number for number, letter in enumerate(sorted(ByteLevel.alphabet()))},
        merges=[],
        # The processor below reads ``image_token``.
        extra_special_tokens={"image_token": "<|image_pad|>"} | {f"{mark[2:-2]}_token": mark for mark in _MARKS},
        model_max_length=1024,
    )
    made.chat_template = _CHAT_TEMPLATE
    return made


def qwen_processor() -> PaddleOCRVLProcessor:
    """Return a processor that expands Qwen's image mark by the picture's patches.

    The published pipelines name ``Qwen2VLProcessor``, which can't be made without torchvision: its videos need it.
    """
    pictures = Qwen2VLImageProcessorPil(patch_size=14, merge_size=2, temporal_patch_size=2)
    return PaddleOCRVLProcessor(image_processor=pictures, tokenizer=qwen_tokenizer(), chat_template=_CHAT_TEMPLATE)


def qwen_vl() -> Qwen2_5_VLForConditionalGeneration:
    """Return a Qwen2.5-VL that sees pictures; what it writes ends at its first token."""
    tokenizer = qwen_tokenizer()
    mark = {name.strip("<|>"): tokenizer.convert_tokens_to_ids(name) for name in _MARKS}
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
            "bos_token_id": tokenizer.eos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        },
        vision_config={
            "depth": 2,
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_heads": 2,
            "out_hidden_size": WIDTH,
            "fullatt_block_indexes": [1],
        },
        image_token_id=mark["image_pad"],
        video_token_id=mark["video_pad"],
        vision_start_token_id=mark["vision_start"],
        vision_end_token_id=mark["vision_end"],
    )
    made = Qwen2_5_VLForConditionalGeneration(config)
    made.generation_config.eos_token_id = list(range(len(tokenizer)))
    made.generation_config.pad_token_id = tokenizer.pad_token_id
    return made


def t5(width: int = WIDTH) -> T5EncoderModel:
    """Return T5's encoder."""
    return T5EncoderModel(
        T5Config(
            vocab_size=len(t5_tokenizer()),
            d_model=width,
            d_kv=width // 2,
            d_ff=2 * width,
            num_layers=2,
            num_heads=2,
            feed_forward_proj="gated-gelu",
        )
    )


def t5_tokenizer() -> T5Tokenizer:
    """Return a tokenizer of T5's kind with a token for each letter."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -10.0), ("▁", -2.0), *((letter, -3.0) for letter in _LETTERS)]
    return T5Tokenizer(vocab=pieces, extra_ids=0, additional_special_tokens=[], model_max_length=128)


def clip_with_projection(positions: int = 77) -> CLIPTextModelWithProjection:
    """Return a CLIP text encoder whose pooled output is as wide as its hidden states."""
    config = clip_config(width=WIDTH, heads=2, act="gelu", projection_dim=WIDTH, positions=positions)
    return CLIPTextModelWithProjection(config)


def gemma() -> Gemma2Model:
    """Return a Gemma 2 without its head."""
    return Gemma2Model(
        Gemma2Config(
            vocab_size=len(gemma_tokenizer()),
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=WIDTH // 2,
        )
    )


def gemma_tokenizer() -> GemmaTokenizer:
    """Return a tokenizer of Gemma's kind with a token for each letter."""
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *_LETTERS]
    return GemmaTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)}, merges=[], model_max_length=1024
    )


@torch.no_grad()
def lively(denoiser: Any) -> Any:
    """Amplify the prompt's and the references' effect, which is below a pixel's step with fresh layers."""
    for name, parameter in denoiser.named_parameters():
        if parameter.dim() > 1 and not parameter.any():  # AdaLN starts at zero
            parameter.normal_(std=0.2)
        elif parameter.dim() > 1 and any(word in name for word in ("to_v", "add_v_proj", "to_out", "to_qkv_mlp_proj")):
            parameter.mul_(3)
    return denoiser
