"""Makes a small model that edits pictures, of FLUX.2 klein's classes with random weights, since none comes with Easel.

Usage: python -m adapters.cli.benchmark.small_editor FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2KleinPipeline, Flux2Transformer2DModel
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from engine.families.registry import DEMO, known_models

_WIDTH = 64
"""Channels of its text encoder."""


def pipeline() -> Flux2KleinPipeline:
    """Return it. A step of 256x256 pixels with two references takes a tenth of a second on two cores."""
    demo = next(spec for spec in known_models() if spec.profile.name == DEMO)
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(Path(demo.profile.source) / "tokenizer", local_files_only=True)
    encoder = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=_WIDTH,
        intermediate_size=2 * _WIDTH,
        num_hidden_layers=28,  # the pipeline reads the layers 9, 18 and 27
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=_WIDTH // 2,
        max_position_embeddings=1024,
    )
    transformer = Flux2Transformer2DModel(
        in_channels=128,
        num_layers=2,
        num_single_layers=4,
        attention_head_dim=64,
        num_attention_heads=3,
        joint_attention_dim=3 * _WIDTH,
        timestep_guidance_channels=_WIDTH,
        axes_dims_rope=(16, 16, 16, 16),
        guidance_embeds=False,
    )
    vae = AutoencoderKLFlux2(block_out_channels=(16, 16, 32, 32), norm_num_groups=4, layers_per_block=1)
    return Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=vae,
        text_encoder=Qwen3ForCausalLM(encoder),
        tokenizer=tokenizer,
        transformer=transformer,
        is_distilled=True,
    )


if __name__ == "__main__":
    pipeline().save_pretrained(sys.argv[1])
    sys.stdout.write("{}\n")
