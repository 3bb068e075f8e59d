"""The small models of the benchmark: one that edits pictures, and steps outside of the denoisers of all families.

``steps`` measures a step of one picture of 1024x1024. The denoisers have the modules of the published models, few
channels, and no forward pass of their own: a step is then all that Easel, the scheduler and guidance do. It prints
milliseconds by family, the best of some steps. ``editor`` saves the model that edits in a folder.

Usage: python -m adapters.cli.benchmark.small_models steps DEVICE
       python -m adapters.cli.benchmark.small_models editor FOLDER
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import (
    AutoencoderKLFlux2,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    UNet2DConditionModel,
    ZImageTransformer2DModel,
)
from torch import Tensor
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from engine.contract import Recipe
from engine.families.denoise_state import Embedding
from engine.families.registry import DEMO, known_models, model_class, of_any_pipeline, spec_of

STEPS = 30

_WIDTH = 64
"""Channels of its text encoder."""


def small_editor() -> Flux2KleinPipeline:
    """Return a model that edits pictures, of FLUX.2 klein's classes with random weights: none comes with Easel.

    A step of 256x256 pixels with two references takes a tenth of a second on two cores.
    """
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


class _Unet(UNet2DConditionModel):  # type: ignore[misc] # diffusers has no types
    def forward(self, sample: Tensor, timestep: Tensor, **_: Any) -> tuple[Tensor]:  # noqa: ARG002
        return (sample,)


class _Transformer(ZImageTransformer2DModel):  # type: ignore[misc] # diffusers has no types
    def forward(self, x: list[Tensor], t: Tensor, cap_feats: list[Tensor], **_: Any) -> tuple[list[Tensor]]:  # noqa: ARG002
        return (x,)


def sdxl() -> tuple[SimpleNamespace, Embedding]:
    """Return the parts of SDXL that a step uses, and a prompt's embedding."""
    unet = _Unet(
        block_out_channels=(4, 4, 4),
        norm_num_groups=4,
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=1,
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=1280 + 6 * 8,
    )
    scheduler = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    parts = SimpleNamespace(unet=unet, scheduler=scheduler, vae_scale_factor=8, config={})
    return parts, Embedding((torch.zeros(77, 2048), torch.zeros(1280)))


def sd15() -> tuple[SimpleNamespace, Embedding]:
    """Return the parts of Stable Diffusion 1.5 that a step uses, and a prompt's embedding."""
    unet = _Unet(block_out_channels=(4, 4, 4, 4), norm_num_groups=4, attention_head_dim=1, cross_attention_dim=768)
    scheduler = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    parts = SimpleNamespace(unet=unet, scheduler=scheduler, vae_scale_factor=8, config={})
    return parts, Embedding((torch.zeros(77, 768),))


def z_image() -> tuple[SimpleNamespace, Embedding]:
    """Return the parts of Z-Image that a step uses, and a prompt's embedding."""
    transformer = _Transformer(
        dim=8, n_layers=30, n_refiner_layers=2, n_heads=1, n_kv_heads=1, cap_feat_dim=2560, axes_dims=(2, 2, 4)
    )
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    parts = SimpleNamespace(transformer=transformer, scheduler=scheduler, vae_scale_factor=8)
    return parts, Embedding((torch.zeros(40, 2560),))


def milliseconds(name: str, parts: SimpleNamespace, prompt: Embedding, device: torch.device) -> float:
    """Return what a step of a family takes."""
    getattr(parts, model_class(name).spec.denoiser).to(device)
    family = model_class(name)(parts, device)
    guidance = spec_of(name).models[0].profile.guidance.default
    recipe = Recipe("bench", name, "", "", 1024, 1024, STEPS, guidance, 1)
    prompt = Embedding(tuple(tensor.to(device) for tensor in prompt.tensors))
    state = family.begin(recipe, prompt, prompt if family.guided(recipe.guidance) else None)
    seconds = []
    while not state.finished:
        began = time.perf_counter()
        family.step([state])
        seconds.append(time.perf_counter() - began)
    return min(seconds) * 1000


def any_pipeline(device: torch.device) -> float:
    """Return what a step of the small editor takes, which is drawn by its pipeline's own call."""
    pipe = small_editor()
    pipe.set_progress_bar_config(disable=True)
    pipe.to(device)
    pipe.transformer.forward = lambda hidden_states, **_: (hidden_states,)
    family = model_class(of_any_pipeline().name)(pipe, device)
    state = family.start(
        Recipe("bench", "editor", "a cat", "", 1024, 1024, STEPS, 0.0, 1), lambda encode, *a: encode(a[0])
    )
    seconds = []
    # Not the first, which encodes the prompt, nor what follows the last, which decodes.
    for _ in range(STEPS - 1):
        began = time.perf_counter()
        family.step([state])
        seconds.append(time.perf_counter() - began)
    state.close()
    return min(seconds[1:]) * 1000


def step_costs(device: torch.device) -> dict[str, float]:
    """Return the milliseconds of a step by family."""
    # Each function has the name of its family.
    found = {make.__name__: milliseconds(make.__name__, *make(), device) for make in (sdxl, sd15, z_image)}
    return found | {of_any_pipeline().name: any_pipeline(device)}


def main(command: str, argument: str) -> None:
    """Run a command of the usage above, and print its result."""
    found: dict[str, float] = {}
    if command == "steps":
        found = step_costs(torch.device(argument))
    else:
        small_editor().save_pretrained(argument)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
