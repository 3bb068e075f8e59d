"""Embeddings of the prompts that were drawn last, by their content: rerolls and batches ask for the same one again."""

from __future__ import annotations

from collections import OrderedDict

from engine.families.base import Family
from engine.families.denoise_state import Embedding

BYTES = 256 * 2**20
"""Bytes of embeddings that are kept: some 100 of the longest of Z-Image, thousands of usual ones."""


class Prompts:
    """Encodes each prompt by itself, so that its embedding does not depend on its batch.

    Attributes:
        encoded: How many prompts went through a text encoder.
        found: How many were there already.
    """

    def __init__(self, most: int = BYTES) -> None:
        """Args:
        most: Bytes that are kept; what was asked for longest ago goes first.
        """
        self._most = most
        self._kept: OrderedDict[tuple[str, str], Embedding] = OrderedDict()
        self._bytes = 0
        self.encoded = 0
        self.found = 0

    @property
    def nbytes(self) -> int:
        """Bytes that are kept now."""
        return self._bytes

    def embed(self, family: Family, name: str, prompt: str) -> Embedding:
        """Return the embedding of a prompt for the model of this name; raises whatever its text encoder raises."""
        key = (name, prompt)
        embedding = self._kept.get(key)
        if embedding is not None:
            self.found += 1
            self._kept.move_to_end(key)
            return embedding
        embedding = family.encode(prompt)
        self.encoded += 1
        self._kept[key] = embedding
        self._bytes += embedding.nbytes
        while self._bytes > self._most and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self._bytes -= old.nbytes
        return embedding

    def clear(self) -> None:
        """Keep nothing: the device's memory is given back, or the model's numbers have changed."""
        self._kept.clear()
        self._bytes = 0
