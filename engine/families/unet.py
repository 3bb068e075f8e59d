"""What Stable Diffusion 1.5 and SDXL have in common: a UNet, CLIP's 77 tokens, and a VAE of four channels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.contract import Recipe
from engine.families.base import Family
from engine.families.denoise_state import Embedding


class UNetFamily(Family):
    """A loaded pipeline with a UNet."""

    @property
    def denoiser(self) -> Any:
        """The UNet."""
        return self.pipe.unet

    def forward(
        self, inputs: Sequence[Tensor], times: Tensor, embeddings: Sequence[Embedding], recipes: Sequence[Recipe]
    ) -> Tensor:
        """See Family. The UNet takes a time for each row."""
        dtype = self.dtype
        found: Tensor = self.denoiser(
            torch.cat(list(inputs)).to(dtype),
            times,
            encoder_hidden_states=torch.stack([e.tensors[0] for e in embeddings]).to(dtype),
            return_dict=False,
            **self.added_cond(embeddings, recipes),
        )[0]
        return found.float()

    @abstractmethod
    def added_cond(self, embeddings: Sequence[Embedding], recipes: Sequence[Recipe]) -> Mapping[str, Any]:
        """Return what the UNet is told beside the prompts."""

    def schedule(self, scheduler: Any, recipe: Recipe) -> None:
        """See Family."""
        scheduler.set_timesteps(recipe.steps, device="cpu")

    @torch.no_grad()
    def decode(self, latents: Tensor) -> NDArray[np.float32]:
        """See Family. A VAE that overflows in fp16 was loaded in fp32."""
        vae = self.pipe.vae
        pixels: Tensor = vae.decode(self._unscaled(latents).to(vae.dtype), return_dict=False)[0]
        found: NDArray[np.float32] = (pixels[0].float() / 2 + 0.5).permute(1, 2, 0).cpu().numpy()
        return found

    @torch.no_grad()
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """See Family."""
        vae = self.pipe.vae
        latents: Tensor = vae.encode(pixels.to(vae.dtype)).latent_dist.mode().float()
        if (spread := self._spread(latents)) is not None:
            mean, deviation = spread
            latents = (latents - mean) / deviation
        return latents * float(vae.config.scaling_factor)

    def _ids(self, tokenizer: Any, prompt: str) -> tuple[Tensor, bool]:
        """Return (1, 77) token ids, and whether the prompt's end is not among them."""
        most = tokenizer.model_max_length
        cut = len(tokenizer(prompt).input_ids) > most
        ids: Tensor = tokenizer(
            prompt, padding="max_length", max_length=most, truncation=True, return_tensors="pt"
        ).input_ids
        return ids.to(self.device), cut

    def _unscaled(self, latents: Tensor) -> Tensor:
        latents = latents / float(self.pipe.vae.config.scaling_factor)
        if (spread := self._spread(latents)) is not None:
            mean, deviation = spread
            latents = latents * deviation + mean
        return latents

    def _spread(self, latents: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return mean and deviation of the VAE's latents by channel, where its config says them."""
        config = self.pipe.vae.config
        mean, deviation = config.get("latents_mean"), config.get("latents_std")
        if mean is None or deviation is None:
            return None
        return latents.new_tensor(mean).view(1, -1, 1, 1), latents.new_tensor(deviation).view(1, -1, 1, 1)
