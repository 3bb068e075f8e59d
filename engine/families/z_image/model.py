"""Draws with ZImagePipeline: a Qwen3 text encoder, AutoencoderKL and a flow-matching scheduler."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import FlowMatchHeunDiscreteScheduler
from diffusers.pipelines.z_image.pipeline_z_image import calculate_shift
from numpy.typing import NDArray
from torch import Tensor

from engine.contract import Recipe
from engine.families.batched import BatchedFamily
from engine.families.denoise_state import Embedding
from engine.families.z_image.spec import MAX_TOKENS, SPEC
from engine.samplers import Sampler


class ZImage(BatchedFamily):
    """A loaded ZImagePipeline."""

    spec = SPEC

    @torch.no_grad()
    def encode(self, prompt: str, clip_skip: int = 0) -> Embedding:  # noqa: ARG002
        """Return (tokens, channels), at most 512 tokens.

        The pipeline pads to 512 and discards the embeddings of the padding. Its text encoder is causal: tokens before
        the padding do not attend to it, so no padding is needed.
        """
        tokenizer = self.pipe.tokenizer
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True, enable_thinking=True
        )
        ids = tokenizer(text, return_tensors="pt").input_ids
        cut = ids.shape[1] > MAX_TOKENS
        if cut:
            ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=MAX_TOKENS).input_ids
        states = self.pipe.text_encoder(input_ids=ids.to(self.device), output_hidden_states=True).hidden_states
        return Embedding((states[-2][0],), cut)

    def forward(
        self, inputs: Sequence[Tensor], times: Tensor, embeddings: Sequence[Embedding], _: Sequence[Recipe]
    ) -> Tensor:
        """See Family. The transformer takes a list of latents, each with its own timestep."""
        dtype = self.dtype
        latents = [x.to(dtype).squeeze(0).unsqueeze(1) for x in inputs]
        prompts = [e.tensors[0] for e in embeddings]
        found = self.denoiser(latents, (1000 - times) / 1000, prompts, return_dict=False)[0]
        return -torch.stack([x.float() for x in found]).squeeze(2)

    def guide(self, towards: Tensor, away: Tensor, guidance: float) -> Tensor:
        """Return the guided prediction. ZImagePipeline's scale counts from 0, where others count from 1."""
        return towards + guidance * (towards - away)

    def scheduler_of(self, sampler: Sampler, recipe: Recipe) -> Any:
        """See BatchedFamily. The solvers of other models take the shift of this picture's size as their own."""
        own = self.pipe.scheduler.config
        train = own.num_train_timesteps
        if sampler.scheduler == "FlowMatchEulerDiscreteScheduler":
            return super().scheduler_of(sampler, recipe)
        shift = math.exp(self._mu(recipe)) if own.get("use_dynamic_shifting") else own.shift
        if sampler.scheduler == "FlowMatchHeunDiscreteScheduler":
            return FlowMatchHeunDiscreteScheduler(train, shift)
        return getattr(diffusers, sampler.scheduler)(train, flow_shift=shift, **sampler.config)

    def schedule(self, scheduler: Any, recipe: Recipe) -> None:
        """See Family. The sigmas are the pipeline's, shifted by the picture's size where the scheduler is dynamic."""
        sigmas = torch.linspace(1.0, 1.0 / recipe.steps, recipe.steps).tolist()
        if isinstance(scheduler, FlowMatchHeunDiscreteScheduler):
            _schedule_heun(scheduler, sigmas)
        elif "sigmas" not in inspect.signature(scheduler.set_timesteps).parameters:
            scheduler.set_timesteps(recipe.steps, device="cpu")
        else:
            scheduler.set_timesteps(sigmas=np.array(sigmas), device="cpu", mu=self._mu(recipe))

    def _mu(self, recipe: Recipe) -> float:
        scale = self.pipe.vae_scale_factor * 2
        config = self.pipe.scheduler.config
        found: float = calculate_shift(
            (recipe.height // scale) * (recipe.width // scale),
            config.get("base_image_seq_len", 256),
            config.get("max_image_seq_len", 4096),
            config.get("base_shift", 0.5),
            config.get("max_shift", 1.15),
        )
        return found

    @torch.no_grad()
    def decode(self, latents: Tensor) -> NDArray[np.float32]:
        """See Family."""
        vae = self.pipe.vae
        scaled = latents.to(vae.dtype) / vae.config.scaling_factor + vae.config.shift_factor
        pixels: Tensor = vae.decode(scaled, return_dict=False)[0]
        found: NDArray[np.float32] = (pixels[0].float() / 2 + 0.5).permute(1, 2, 0).cpu().numpy()
        return found

    @torch.no_grad()
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """See Family."""
        vae = self.pipe.vae
        latents: Tensor = vae.encode(pixels.to(vae.dtype)).latent_dist.mode()
        found: Tensor = (latents.float() - vae.config.shift_factor) * vae.config.scaling_factor
        return found

    @classmethod
    def original_layer_names(cls, denoiser: Any, names: Collection[str]) -> Mapping[str, tuple[str, ...]]:  # noqa: ARG003
        """See Family. The names are Lumina's, where queries, keys and values are one layer."""
        found: dict[str, tuple[str, ...]] = {}
        for name in names:
            block, fused, _ = name.partition(".attention.to_q")
            if fused:
                found[f"{block}.attention.qkv"] = tuple(f"{block}.attention.to_{which}" for which in "qkv")
            first = name.replace("attention.to_out.0", "attention.out")
            first = re.sub(r"^all_(x_embedder|final_layer)\.[\d-]+", r"\1", first)
            if first != name:
                found[first] = (name,)
        return found

    @classmethod
    def denoiser_tensors(cls, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """See Family. Some files have the padding tokens as vectors; diffusers expects one row."""
        return {name: t[None] if name.endswith("pad_token") and t.dim() == 1 else t for name, t in tensors.items()}


def _schedule_heun(scheduler: Any, sigmas: Sequence[float]) -> None:
    """Set the timesteps of FlowMatchHeunDiscreteScheduler, which takes no sigmas, to those that Euler would have."""
    scheduler.set_timesteps(len(sigmas), device="cpu")
    plain, shift = torch.tensor(sigmas), scheduler.config.shift
    shifted = shift * plain / (1 + (shift - 1) * plain)
    times = shifted * scheduler.config.num_train_timesteps
    # Each step but the last is computed twice: at its beginning and at its end.
    scheduler.timesteps = torch.cat([times[:1], times[1:].repeat_interleave(2)])
    scheduler.sigmas = torch.cat([shifted[:1], shifted[1:].repeat_interleave(2), torch.zeros(1)])
