"""SDXL and what is built like it: StableDiffusionXLPipeline with two CLIP text encoders, told the picture's size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from engine.contract import Recipe
from engine.families.denoise_state import DenoiseState, Embedding, InitImage
from engine.families.unet import UNetFamily


class SDXL(UNetFamily):
    """A loaded StableDiffusionXLPipeline."""

    @torch.no_grad()
    def encode(self, prompt: str) -> Embedding:
        """Return (77, channels of both encoders) and what the second one makes of the whole prompt, (channels,)."""
        pipe = self.pipe
        ids, cut = self._ids(pipe.tokenizer, prompt)
        first = pipe.text_encoder(ids, output_hidden_states=True)
        ids, _ = self._ids(pipe.tokenizer_2, prompt)  # padded with another token
        second = pipe.text_encoder_2(ids, output_hidden_states=True)
        states = torch.cat([first.hidden_states[-2][0], second.hidden_states[-2][0]], dim=-1)
        return Embedding((states, second[0][0]), cut)

    def begin(
        self, recipe: Recipe, prompt: Embedding, negative: Embedding | None, start: InitImage | None = None
    ) -> DenoiseState:
        """See Family. SDXL was trained with zeros where there is no prompt, which its pipeline takes for no negative."""
        if negative is not None and not recipe.negative and self.pipe.config.get("force_zeros_for_empty_prompt"):
            negative = Embedding(tuple(torch.zeros_like(t) for t in negative.tensors))
        return super().begin(recipe, prompt, negative, start)

    def added_cond(self, embeddings: Sequence[Embedding], recipes: Sequence[Recipe]) -> Mapping[str, Any]:
        """Return the pooled prompts, and sizes as SDXL was trained with them (arXiv 2307.01952, section 2.2).

        The original size and the target size are the recipe's, and nothing is cropped: the pipeline's own defaults.
        """
        sizes = [[r.height, r.width, 0, 0, r.height, r.width] for r in recipes]
        return {
            "added_cond_kwargs": {
                "text_embeds": torch.stack([e.tensors[1] for e in embeddings]).to(self.dtype),
                "time_ids": torch.tensor(sizes, dtype=self.dtype, device=self.device),
            }
        }
