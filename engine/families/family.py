"""The interface of all model families, which the executor asks for pictures, and the cache of embeddings that it lends them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.contract import BadRecipe, CannotWrite, Recipe
from engine.families.denoise_state import Embedding, InitImage, PictureState
from engine.families.language_model import LanguageModel
from engine.families.spec import FamilySpec

S = TypeVar("S", bound=PictureState)


class EmbedPrompt(Protocol):
    """Returns the embedding of a prompt from the cache, or encodes it with the function that it is given."""

    def __call__(self, encode: Callable[[str], Embedding], prompt: str, setting: str = "", /) -> Embedding:
        """``setting`` is what decides the embedding besides the prompt. Raises what ``encode`` raises."""


class PromptCache:
    """An LRU cache of embeddings by their prompts. Rerolls and batches use the same prompt again.

    Each prompt is encoded on its own, so that its embedding does not depend on the batch.

    Attributes:
        encoded: Number of prompts that a text encoder has encoded.
        found: Number of prompts that were found in the cache.
    """

    def __init__(self, most: int) -> None:
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


class Family(ABC, Generic[S]):
    """A loaded pipeline on its device.

    ``BatchedFamily`` calls the parts of a pipeline one by one and takes a step with several pictures at once. The family
    for pipelines of any class runs the pipeline's own call for each picture.

    Args:
        pipe: A diffusers pipeline whose parts are on the device.
        device: The device that draws.

    Attributes:
        spec: The family's description, set by each subclass.
        max_batch: Most pictures that may share a step; 0: as many as are worth it.
        decodes_aside: Whether ``finish`` works on the stream of its caller, and can be called again after a failure.
    """

    spec: ClassVar[FamilySpec]
    max_batch: ClassVar[int] = 0
    decodes_aside: ClassVar[bool] = True

    def __init__(self, pipe: Any, device: torch.device) -> None:
        self.pipe = pipe
        self.device = device

    @property
    @abstractmethod
    def denoiser(self) -> Any:
        """The transformer or UNet, which predicts one step."""

    @property
    def lora_parts(self) -> Mapping[str, Any]:
        """The parts that LoRAs may change, by name, the denoiser first; empty: it takes no LoRAs."""
        return {part: getattr(self.pipe, part) for part in self.spec.lora_parts}

    @property
    def lora_converter(self) -> Callable[[dict[str, Any]], Mapping[str, Any]] | None:
        """Translates the tensors of a LoRA with names of other libraries to diffusers' names; None: there is no need.

        It may leave tensors out; who calls it checks that nothing is lost.
        """
        return None

    @classmethod
    def original_layer_names(cls, denoiser: Any, names: Collection[str]) -> Mapping[str, tuple[str, ...]]:  # noqa: ARG003
        """Return diffusers' names of the denoiser's layers by the names in the model's first publication.

        LoRAs use either. One original layer may be several in diffusers, such as fused queries, keys and values.

        Args:
            denoiser: The module.
            names: Its layers that have weights, by diffusers' names.
        """
        return {}

    @abstractmethod
    def start(
        self,
        recipe: Recipe,
        embed: EmbedPrompt,
        init_image: InitImage | None = None,
        references: Sequence[NDArray[np.uint8]] = (),
    ) -> S:
        """Return the state of a recipe before its first step.

        Args:
            recipe: The recipe.
            embed: Encodes prompts; embeddings that were made before are cached.
            init_image: What it starts from; None: noise.
            references: The recipe's reference pictures, each (height, width, 3) of its own size.

        Raises:
            BadRecipe: The model can't do what the recipe asks for.
        """

    def add_control(self, state: S, pixels: NDArray[np.uint8]) -> str:  # noqa: ARG002
        """Let a picture that has not begun follow a control picture; return the name of the ControlNet.

        Args:
            state: Its state before its first step.
            pixels: The control picture of the recipe's size, (height, width, 3).

        Raises:
            BadRecipe: The model has no ControlNet for ``Recipe.control``.
        """
        raise BadRecipe(f"{self.spec.title} draws without control pictures; leave --control out.")

    def lengths(self, states: Sequence[S]) -> tuple[int, ...]:  # noqa: ARG002
        """Return how many rows of a step have each padded length of prompts; empty where all have the same.

        Rows of different lengths need an attention mask, or a call for each length.
        """
        return ()

    @abstractmethod
    def step(self, states: Sequence[S], *, apart: bool = False) -> None:
        """Take one step of each picture, or more where the model skips some.

        Args:
            states: Unfinished pictures of the same size, at most ``max_batch``.
            apart: Call the denoiser for each of the ``lengths`` apart, without a mask.
        """

    @abstractmethod
    def preview(self, state: S) -> NDArray[np.uint8] | None:
        """Return a small preview of the finished picture, (height, width, 3); None where the model has none."""

    @abstractmethod
    def finish(self, state: S) -> Tensor:
        """Return the finished picture, (height, width, 3) from 0 to 1 in float32, on the device where it was decoded.

        Values are not finite where the VAE overflowed.
        """

    def language_model(self) -> LanguageModel:
        """Return the text encoder as a language model, with the weights that it has already.

        Raises:
            CannotWrite: It is none, or it can't write where it is placed.
        """
        raise CannotWrite(
            f"The text encoder of {self.spec.title} can't write: set EASEL_TEXT_MODEL to a language model."
        )

    def close(self) -> None:
        """Drop the pipeline, so that its memory is freed. Pictures that are not finished have to be started again."""
        self.pipe.maybe_free_model_hooks()  # parts that were moved to the device
        self.pipe = None
