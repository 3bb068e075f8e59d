"""Embeddings of the prompts that were drawn last: rerolls and batches ask for the same one again."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor

from engine.diffusion.families.base import Family

KEPT = 32
"""Embeddings that are kept; the longest of Z-Image (512 tokens of 2560 channels in bf16) takes 2.6 MB."""


class Prompts:
    """Encodes each prompt by itself, so that its embedding does not depend on its batch."""

    def __init__(self, family: Family, kept: int = KEPT) -> None:
        self._family = family
        self._kept = kept
        self._embeddings: OrderedDict[str, Tensor] = OrderedDict()

    def embed(self, prompt: str) -> Tensor:
        """Return the embedding; raises whatever the text encoder raises."""
        found = self._embeddings.pop(prompt, None)
        if found is None:
            found = self._family.encode(prompt)
        self._embeddings[prompt] = found
        while len(self._embeddings) > self._kept:
            self._embeddings.popitem(last=False)
        return found
