"""Small pipelines of Black Forest Labs' classes and of Chroma, which is built on Flux."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    ChromaPipeline,
    ChromaTransformer2DModel,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
)
from transformers import CLIPTextModel, Qwen3Config, Qwen3ForCausalLM

from tests.fakes.pipelines import clip_config, clip_tokenizer, save
from tests.fakes.small_pipelines.parts import (
    MEGAPIXEL_LEVELS,
    WIDTH,
    flow_scheduler,
    flux2_vae,
    flux_vae,
    lively,
    qwen_tokenizer,
    t5,
    t5_tokenizer,
)


def flux(folder: Path, seed: int = 0) -> Path:
    """Save a FluxPipeline that embeds its guidance, as FLUX.1 dev does."""
    return _flux(FluxPipeline, folder, seed, levels=4)


def flux_kontext(folder: Path, seed: int = 0) -> Path:
    """Save a FluxKontextPipeline."""
    return _flux(FluxKontextPipeline, folder, seed, levels=MEGAPIXEL_LEVELS)


def flux2_klein(folder: Path, seed: int = 0) -> Path:
    """Save a distilled Flux2KleinPipeline, as the published one of four steps."""
    torch.manual_seed(seed)
    tokenizer = qwen_tokenizer()
    encoder = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=28,  # the pipeline reads the layers 9, 18 and 27
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=WIDTH // 2,
        max_position_embeddings=1024,
    )
    pipe = Flux2KleinPipeline(
        scheduler=flow_scheduler(),
        vae=flux2_vae(),
        text_encoder=Qwen3ForCausalLM(encoder),
        tokenizer=tokenizer,
        transformer=lively(
            Flux2Transformer2DModel(
                in_channels=128,
                num_layers=1,
                num_single_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=3 * WIDTH,
                timestep_guidance_channels=WIDTH,
                axes_dims_rope=(4, 4, 4, 4),
                guidance_embeds=False,
            )
        ),
        is_distilled=True,
    )
    return save(pipe, folder)


def chroma(folder: Path, seed: int = 0) -> Path:
    """Save a ChromaPipeline."""
    torch.manual_seed(seed)
    pipe = ChromaPipeline(
        scheduler=flow_scheduler(),
        vae=flux_vae(),
        text_encoder=t5(),
        tokenizer=t5_tokenizer(),
        transformer=lively(
            ChromaTransformer2DModel(
                in_channels=64,
                num_layers=1,
                num_single_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=WIDTH,
                axes_dims_rope=(4, 6, 6),
                approximator_num_channels=64,
                approximator_hidden_dim=WIDTH,
                approximator_layers=1,
            )
        ),
    )
    return save(pipe, folder)


def _flux(pipeline: Any, folder: Path, seed: int, levels: int) -> Path:
    torch.manual_seed(seed)
    pipe = pipeline(
        scheduler=flow_scheduler(),
        vae=flux_vae(levels),
        text_encoder=CLIPTextModel(clip_config(heads=2)),
        tokenizer=clip_tokenizer(),
        text_encoder_2=t5(),
        tokenizer_2=t5_tokenizer(),
        transformer=lively(
            FluxTransformer2DModel(
                in_channels=64,
                num_layers=1,
                num_single_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=WIDTH,
                pooled_projection_dim=WIDTH,
                guidance_embeds=True,
                axes_dims_rope=(4, 6, 6),
            )
        ),
    )
    return save(pipe, folder)
