"""An LRU cache of prompt embeddings by content: rerolls and batches use the same prompt again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection

from engine.diffusion.memory.estimate import EMBEDDINGS
from engine.families.denoise_state import Embedding


class PromptCache:
    """Encodes each prompt on its own, so that its embedding does not depend on the batch.

    Attributes:
        encoded: Number of prompts that a text encoder has encoded.
        found: Number of prompts that were found in the cache.
    """

    def __init__(self, most: int = EMBEDDINGS) -> None:
        """Args:
        most: Capacity in bytes; the least recently used embedding is evicted first.
        """
        self._most = most
        self._kept: OrderedDict[tuple[str, str, str], Embedding] = OrderedDict()
        self._bytes = 0
        self.encoded = 0
        self.found = 0

    @property
    def nbytes(self) -> int:
        """Bytes in the cache."""
        return self._bytes

    def embed(self, name: str, encode: Callable[[str], Embedding], prompt: str, setting: str = "") -> Embedding:
        """Return the embedding of a prompt for the model of this name; ``encode`` makes one that is not here.

        ``setting`` is what decides the embedding besides the prompt, such as ``clip skip 2``.
        """
        key = (name, prompt, setting)
        embedding = self._kept.get(key)
        if embedding is not None:
            self.found += 1
            self._kept.move_to_end(key)
            return embedding
        embedding = encode(prompt)
        self.encoded += 1
        self._kept[key] = embedding
        self._bytes += embedding.nbytes
        while self._bytes > self._most and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self._bytes -= old.nbytes
        return embedding

    def keep(self, models: Collection[str]) -> None:
        """Drop the embeddings of all models but these, which the name given to ``embed`` begins with."""
        for key in [key for key in self._kept if key[0].partition(" ")[0] not in models]:
            self._bytes -= self._kept.pop(key).nbytes

    def clear(self) -> None:
        """Empty the cache, since the device's memory is freed or the model's weights have changed."""
        self._kept.clear()
        self._bytes = 0
