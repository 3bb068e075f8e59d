"""Draws with StableDiffusionPipeline: one CLIP text encoder and a UNet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from engine.families.clip_prompts import hidden_state, tokenise, weigh
from engine.families.denoise_state import Embedding
from engine.families.sd15.spec import SPEC
from engine.families.unet import UNetFamily


class SD15(UNetFamily):
    """A loaded StableDiffusionPipeline."""

    spec = SPEC

    @torch.no_grad()
    def encode(self, prompt: str, clip_skip: int = 0) -> Embedding:
        """Return (chunks * 77, channels). The padding is kept, since the UNet was trained with it."""
        encoder, read = self.pipe.text_encoder, tokenise(prompt, self.pipe.tokenizer)
        found = encoder(read.ids.to(self.device), output_hidden_states=clip_skip > 1)
        states = found[0]
        if clip_skip > 1:
            states = encoder.final_layer_norm(hidden_state(found, clip_skip))
        return Embedding((weigh(states, read.weights),), read.cut, read.extended)

    def added_cond(self, embeddings: Sequence[Embedding]) -> Mapping[str, Any]:  # noqa: ARG002
        """Return no further conditioning."""
        return {}
