"""Draws with PixArtSigmaPipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from engine.contract import Recipe
from engine.families.batched import BatchedFamily
from engine.families.denoise_state import Embedding

from .spec import MAX_TOKENS, SPEC


class PixArtSigma(BatchedFamily):
    """A loaded PixArtSigmaPipeline."""

    spec = SPEC

    @torch.no_grad()
    def encode(self, prompt: str, clip_skip: int = 0) -> Embedding:
        """Return (tokens, channels). The pipeline masks its padding everywhere, so that none is needed."""
        text = prompt.lower().strip()
        tokenizer = self.pipe.tokenizer
        cut = len(tokenizer(text).input_ids) > MAX_TOKENS
        ids = tokenizer(text, truncation=True, max_length=MAX_TOKENS, return_tensors="pt").input_ids.to(self.device)
        return Embedding((self.pipe.text_encoder(ids)[0][0],), cut)

    def forward(
        self, inputs: Sequence[Tensor], times: Tensor, embeddings: Sequence[Embedding], _: Sequence[Recipe]
    ) -> Tensor:
        """See Family. Prompts of different lengths are padded and masked; the variance that is predicted is dropped."""
        dtype = self.dtype
        prompts = [e.tensors[0] for e in embeddings]
        mask = pad_sequence([torch.ones(len(p), device=self.device) for p in prompts], batch_first=True)
        found: Tensor = self.denoiser(
            torch.cat(list(inputs)).to(dtype),
            encoder_hidden_states=pad_sequence(prompts, batch_first=True).to(dtype),
            encoder_attention_mask=mask.to(dtype),
            timestep=times,
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
            return_dict=False,
        )[0]
        return found[:, : self._channels].float()

    def schedule(self, scheduler: Any, recipe: Recipe) -> None:
        """See Family."""
        scheduler.set_timesteps(recipe.steps, device="cpu")

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """See Family."""
        vae = self.pipe.vae
        pixels: Tensor = vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor, return_dict=False)[0]
        return (pixels[0].float() / 2 + 0.5).permute(1, 2, 0)

    @torch.no_grad()
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """See Family."""
        vae = self.pipe.vae
        latents: Tensor = vae.encode(pixels.to(vae.dtype)).latent_dist.mode()
        return latents.float() * float(vae.config.scaling_factor)
