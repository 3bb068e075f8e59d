"""Measures on small UNets what number formats change in a picture, and how near it is to that of diffusers' own pipeline.

The UNets have the layers of Stable Diffusion 1.5 and SDXL, few channels and random weights. Errors are those of pixels, of
255, after a VAE in fp32. It prints them as JSON.

Usage: python -m adapters.cli.benchmark.formats DEVICE
"""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import Tensor

from engine.contract import Recipe
from engine.families.batched import BatchedFamily, noise_of
from engine.families.denoise_state import Embedding
from engine.families.registry import model_class, of_pipeline

_SIDE, _WIDTH, _POOLED, _TIME = 64, 32, 16, 8

_UNET: dict[str, Any] = {
    "block_out_channels": (32, 64),
    "norm_num_groups": 8,
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 4,
    "cross_attention_dim": _WIDTH,
}

_POOLED_PROMPT = "addition_embed_type"

_UNETS: dict[type[Any], dict[str, Any]] = {
    StableDiffusionPipeline: {},
    StableDiffusionXLPipeline: {
        _POOLED_PROMPT: "text_time",
        "use_linear_projection": True,
        "addition_time_embed_dim": _TIME,
        "projection_class_embeddings_input_dim": _POOLED + 6 * _TIME,
    },
}
"""What the UNet of each pipeline has besides ``_UNET``."""


@dataclass(frozen=True, slots=True)
class FormatErrors:
    """Errors of pixels, of 255.

    Attributes:
        fp16: Mean error in fp16 against fp32.
        bf16: The same in bf16.
        pipeline: Largest difference from diffusers' pipeline, both in fp32.
        pipeline_fp16: The same, both in fp16.
    """

    fp16: float
    bf16: float
    pipeline: float
    pipeline_fp16: float


def small_pipeline(kind: type[Any]) -> Any:
    """Return a pipeline of a class with a small UNet and a small VAE, and without text encoders."""
    more = _UNETS[kind]
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(16, 16, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        latent_channels=4,
    )
    scheduler = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    parts = {"vae": vae, "unet": UNet2DConditionModel(**_UNET, **more), "scheduler": scheduler}
    parts |= {"text_encoder": None, "tokenizer": None}
    if _POOLED_PROMPT in more:
        parts |= {"text_encoder_2": None, "tokenizer_2": None}
    else:
        parts |= {"safety_checker": None, "feature_extractor": None}
    pipe = kind(**parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def embeddings(kind: type[Any], device: torch.device) -> tuple[Embedding, Embedding]:
    """Return a prompt and a negative prompt of random numbers, in fp32."""
    numbers = torch.Generator().manual_seed(1)
    shapes = [(77, _WIDTH), (_POOLED,)] if _POOLED_PROMPT in _UNETS[kind] else [(77, _WIDTH)]
    first, second = (Embedding(tuple(torch.randn(s, generator=numbers).to(device) for s in shapes)) for _ in range(2))
    return first, second


def errors(name: str, kind: type[Any], device: torch.device) -> FormatErrors:
    """Measure a family with its class of pipelines."""
    pipe = small_pipeline(kind).to(device)
    prompt, negative = embeddings(kind, device)
    recipe = Recipe("bench", name, "a", "b", _SIDE, _SIDE, 6, 4.0, 3)
    reader: BatchedFamily = model_class(name)(pipe, device)

    def drawn(unet: UNet2DConditionModel) -> Tensor:
        """Return the picture that Easel draws with a UNet."""
        pipe.register_modules(unet=unet)
        model = model_class(name)(pipe, device)
        state = model.begin(recipe, prompt, negative)
        while not state.finished:
            model.step([state])
        return reader.decode(state.latents)

    def bare(unet: UNet2DConditionModel) -> Tensor:
        """Return that of diffusers' pipeline."""
        pipe.register_modules(unet=unet)
        given = {"prompt_embeds": prompt.tensors[0], "negative_prompt_embeds": negative.tensors[0]}
        if len(prompt.tensors) > 1:
            given |= {"pooled_prompt_embeds": prompt.tensors[1], "negative_pooled_prompt_embeds": negative.tensors[1]}
        found = pipe(
            **{key: tensor[None].to(unet.dtype) for key, tensor in given.items()},
            latents=noise_of(recipe, (1, 4, _SIDE // 8, _SIDE // 8))[0].to(device, unet.dtype),
            width=_SIDE,
            height=_SIDE,
            num_inference_steps=recipe.steps,
            guidance_scale=recipe.guidance,
            output_type="latent",
        )
        return reader.decode(found.images.float())

    exact_unet = pipe.unet
    half, brain = (copy.deepcopy(exact_unet).to(dtype) for dtype in (torch.float16, torch.bfloat16))
    exact, in_half = drawn(exact_unet), drawn(half)
    return FormatErrors(
        fp16=_mean(in_half, exact),
        bf16=_mean(drawn(brain), exact),
        pipeline=_largest(exact, bare(exact_unet)),
        pipeline_fp16=_largest(in_half, bare(half)),
    )


def _mean(one: Tensor, other: Tensor) -> float:
    return float((one.clamp(0, 1) - other.clamp(0, 1)).abs().mean()) * 255


def _largest(one: Tensor, other: Tensor) -> float:
    return float((one.clamp(0, 1) - other.clamp(0, 1)).abs().max()) * 255


def main(device: str) -> str:
    """Measure all families and return their errors as JSON, by name."""
    found = {}
    for kind in _UNETS:
        family = of_pipeline(kind.__name__)
        assert family is not None, "each of these classes has a family"
        found[family.name] = asdict(errors(family.name, kind, torch.device(device)))
    return json.dumps(found)


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1]) + "\n")
