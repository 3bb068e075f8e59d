"""Draws with StableDiffusionXLPipeline: two CLIP text encoders, and a UNet conditioned on the size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from engine.contract import Recipe
from engine.families.clip_prompts import hidden_state, tokenise, weigh
from engine.families.denoise_state import DenoiseState, Embedding, InitImage
from engine.families.sdxl.spec import CLIP_SKIP, SPEC
from engine.families.unet import UNetFamily


class SDXL(UNetFamily):
    """A loaded StableDiffusionXLPipeline."""

    spec = SPEC

    @torch.no_grad()
    def encode(self, prompt: str, clip_skip: int = 0) -> Embedding:
        """Return (chunks * 77, channels of both encoders), and the second encoder's pooled embedding, (channels,).

        As in A1111, the first chunk gives the pooled embedding, without weights.
        """
        skip = clip_skip or CLIP_SKIP
        read = tokenise(prompt, self.pipe.tokenizer)
        first = self.pipe.text_encoder(read.ids.to(self.device), output_hidden_states=True)
        states = weigh(hidden_state(first, skip), read.weights)
        read = tokenise(prompt, self.pipe.tokenizer_2)  # padded with another token
        second = self.pipe.text_encoder_2(read.ids.to(self.device), output_hidden_states=True)
        states = torch.cat([states, weigh(hidden_state(second, skip), read.weights)], dim=-1)
        return Embedding((states, second[0][0]), read.cut, read.extended)

    def begin(
        self, recipe: Recipe, prompt: Embedding, negative: Embedding | None, init_image: InitImage | None = None
    ) -> DenoiseState:
        """See Family. The size conditioning (arXiv 2307.01952, section 2.2) becomes the last tensor of the embeddings.

        Original and target size are the recipe's and the crop is (0, 0), as the pipeline has them by default. SDXL was
        trained with zeros for an empty prompt; its pipeline uses them where negative is empty.
        """
        if negative is not None and not recipe.negative and self.pipe.config.get("force_zeros_for_empty_prompt"):
            negative = Embedding(tuple(torch.zeros_like(t) for t in negative.tensors))
        side = [recipe.height, recipe.width]
        size = torch.tensor([*side, 0, 0, *side], dtype=self.dtype, device=self.device)
        prompt = replace(prompt, tensors=(*prompt.tensors, size))
        if negative is not None:
            negative = replace(negative, tensors=(*negative.tensors, size))
        return super().begin(recipe, prompt, negative, init_image)

    def added_cond(self, embeddings: Sequence[Embedding]) -> Mapping[str, Any]:
        """Return the pooled prompts and the sizes."""
        return {
            "added_cond_kwargs": {
                "text_embeds": torch.stack([e.tensors[1] for e in embeddings]).to(self.dtype),
                "time_ids": torch.stack([e.tensors[2] for e in embeddings]),
            }
        }
