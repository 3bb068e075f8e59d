"""Small pipelines whose prompts a Qwen2.5-VL reads: Qwen-Image and LongCat-Image, drawing and editing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    LongCatImageEditPipeline,
    LongCatImagePipeline,
    LongCatImageTransformer2DModel,
    QwenImageEditPlusPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
)

from tests.fakes.pipelines import save
from tests.fakes.small_pipelines.parts import (
    MEGAPIXEL_LEVELS,
    WIDTH,
    flow_scheduler,
    flux_vae,
    lively,
    qwen_processor,
    qwen_tokenizer,
    qwen_vae,
    qwen_vl,
)


def qwen_image(folder: Path, seed: int = 0) -> Path:
    """Save a QwenImagePipeline."""
    return _qwen(QwenImagePipeline, folder, seed, levels=4)


def qwen_image_edit_plus(folder: Path, seed: int = 0) -> Path:
    """Save a QwenImageEditPlusPipeline whose references have timestep zero, as in Qwen-Image-Edit-2511."""
    return _qwen(QwenImageEditPlusPipeline, folder, seed, levels=MEGAPIXEL_LEVELS, edits=True)


def longcat_image(folder: Path, seed: int = 0) -> Path:
    """Save a LongCatImagePipeline."""
    return _longcat(LongCatImagePipeline, folder, seed, levels=4)


def longcat_image_edit(folder: Path, seed: int = 0) -> Path:
    """Save a LongCatImageEditPipeline. Its pictures have a million pixels, whatever size is asked for."""
    return _longcat(LongCatImageEditPipeline, folder, seed, levels=MEGAPIXEL_LEVELS)


def _qwen(pipeline: Any, folder: Path, seed: int, levels: int, *, edits: bool = False) -> Path:
    torch.manual_seed(seed)
    pipe = pipeline(
        scheduler=flow_scheduler(),
        vae=qwen_vae(levels),
        text_encoder=qwen_vl(),
        tokenizer=qwen_tokenizer(),
        transformer=lively(
            QwenImageTransformer2DModel(
                in_channels=64,
                out_channels=16,
                num_layers=2,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=WIDTH,
                axes_dims_rope=(4, 6, 6),
                zero_cond_t=edits,
            )
        ),
        **({"processor": qwen_processor()} if edits else {}),
    )
    return save(pipe, folder)


def _longcat(pipeline: Any, folder: Path, seed: int, levels: int) -> Path:
    torch.manual_seed(seed)
    pipe = pipeline(
        scheduler=flow_scheduler(),
        vae=flux_vae(levels),
        text_encoder=qwen_vl(),
        tokenizer=qwen_tokenizer(),
        text_processor=qwen_processor(),
        transformer=lively(
            LongCatImageTransformer2DModel(
                in_channels=64,
                num_layers=1,
                num_single_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=WIDTH,
                pooled_projection_dim=WIDTH,
                axes_dims_rope=[4, 6, 6],
            )
        ),
    )
    return save(pipe, folder)
