"""Z-Image and what is built like it: ZImagePipeline with Qwen3, AutoencoderKL and a flow-match scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.z_image.pipeline_z_image import calculate_shift
from numpy.typing import NDArray
from torch import Tensor

from engine.contract import Recipe
from engine.families.base import Family
from engine.families.denoise_state import Embedding

MAX_TOKENS = 512
"""What ZImagePipeline reads of a prompt, its chat template included."""


class ZImage(Family):
    """A loaded ZImagePipeline."""

    unguided_below = 0.0  # its scale counts from there: towards + guidance * (towards - away)

    @property
    def denoiser(self) -> Any:
        """The transformer."""
        return self.pipe.transformer

    @torch.no_grad()
    def encode(self, prompt: str) -> Embedding:
        """Return (tokens, channels), at most 512 tokens.

        The pipeline pads to 512 and throws the padding's embeddings away. Its text encoder is causal: what stands before
        the padding does not see it, so it is left out.
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
        """See Family. The transformer takes a list, each latent with its own time."""
        dtype = self.dtype
        latents = [x.to(dtype).squeeze(0).unsqueeze(1) for x in inputs]
        prompts = [e.tensors[0] for e in embeddings]
        found = self.denoiser(latents, (1000 - times) / 1000, prompts, return_dict=False)[0]
        return -torch.stack([x.float() for x in found]).squeeze(2)

    def guide(self, towards: Tensor, away: Tensor, guidance: float) -> Tensor:
        """Return the guided prediction, as ZImagePipeline counts its scale."""
        return towards + guidance * (towards - away)

    def schedule(self, scheduler: Any, recipe: Recipe) -> None:
        """See Family. The pipeline's own sigmas, shifted by the picture's size where the scheduler asks for it."""
        scale = self.pipe.vae_scale_factor * 2
        config = scheduler.config
        mu = calculate_shift(
            (recipe.height // scale) * (recipe.width // scale),
            config.get("base_image_seq_len", 256),
            config.get("max_image_seq_len", 4096),
            config.get("base_shift", 0.5),
            config.get("max_shift", 1.15),
        )
        sigmas = torch.linspace(1.0, 1.0 / recipe.steps, recipe.steps).tolist()
        scheduler.set_timesteps(sigmas=sigmas, device="cpu", mu=mu)

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
