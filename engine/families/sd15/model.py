"""Draws with StableDiffusionPipeline: one CLIP text encoder and a UNet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from engine.contract import Recipe
from engine.families.denoise_state import Embedding
from engine.families.sd15.spec import SPEC
from engine.families.unet import UNetFamily


class SD15(UNetFamily):
    """A loaded StableDiffusionPipeline."""

    spec = SPEC

    @torch.no_grad()
    def encode(self, prompt: str) -> Embedding:
        """Return (77, channels). The padding is kept, since the UNet was trained with it."""
        ids, cut = self._ids(self.pipe.tokenizer, prompt)
        return Embedding((self.pipe.text_encoder(ids)[0][0],), cut)

    def added_cond(self, embeddings: Sequence[Embedding], recipes: Sequence[Recipe]) -> Mapping[str, Any]:  # noqa: ARG002
        """Return no further conditioning."""
        return {}
