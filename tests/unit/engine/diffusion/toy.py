"""A model of one number a picture: its seed, over 255. Does what a test tells it to when it meets a prompt or a step."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.contract import EngineError, Image, Preview, Recipe
from engine.diffusion.model_manager import LoadedModel
from engine.diffusion.request_state import BatchKey, StepProgress
from engine.families.batched import BatchedFamily
from engine.families.denoise_state import DenoiseState, Embedding, InitImage
from engine.families.z_image.spec import SPEC
from engine.spec import ModelSpec

T = TypeVar("T")

TOY = Recipe("a", "toy", "a", "", 8, 8, 3, 0.0, 1)


class Toy(BatchedFamily):
    """Everything of a family but the tensors' sense."""

    spec = SPEC

    def __init__(self) -> None:
        self.tiled = False
        vae = SimpleNamespace(
            enable_tiling=lambda: setattr(self, "tiled", True),
            disable_tiling=lambda: setattr(self, "tiled", False),
            tile_sample_min_size=1024,
            config=SimpleNamespace(block_out_channels=(1, 1, 1, 1)),
        )
        super().__init__(SimpleNamespace(vae=vae, maybe_free_model_hooks=lambda: None), torch.device("cpu"))
        self.batches: list[list[int]] = []
        self.encoded: list[str] = []
        self.starts: list[InitImage | None] = []
        self.previewed: list[int] = []
        self.on_encode: Callable[[str], None] = lambda _: None
        self.on_step: Callable[[list[int], int], None] = lambda _, __: None
        self.on_finish: Callable[[int], None] = lambda _: None
        self.colour: Callable[[int], float] = lambda seed: seed / 255

    @property
    def denoiser(self) -> Any:
        return SimpleNamespace(dtype=torch.float32)

    def encode(self, prompt: str, clip_skip: int = 0) -> Embedding:
        self.on_encode(prompt)
        self.encoded.append(f"{prompt} {clip_skip}" if clip_skip else prompt)
        return Embedding(
            (torch.tensor([float("nan") if prompt == "nan" else 0.0]),),
            cut=prompt == "long",
            extended=prompt.startswith("("),
        )

    def begin(
        self, recipe: Recipe, prompt: Embedding, negative: Embedding | None, init_image: InitImage | None = None
    ) -> DenoiseState:
        self.starts.append(init_image)
        times, nothing = torch.arange(recipe.steps), torch.zeros(1)
        return DenoiseState(recipe, prompt, negative, None, times, torch.Generator(), nothing, nothing, init_image)

    def step(self, states: Sequence[DenoiseState], *, apart: bool = False) -> None:
        seeds = [s.recipe.seed for s in states]
        self.batches.append(seeds)
        self.on_step(seeds, states[0].done + 1)
        for state in states:
            state.done += 1
            state.latents = state.prompt.tensors[0] + float(state.recipe.seed)

    def preview(self, state: DenoiseState) -> NDArray[np.uint8]:
        self.previewed.append(state.recipe.seed)
        return np.full((2, 2, 3), state.recipe.seed, np.uint8)

    def finish(self, state: DenoiseState) -> Tensor:
        self.on_finish(state.recipe.seed)
        found = torch.full((8, 8, 3), self.colour(state.recipe.seed))
        found[0, 0, 1] = 0.5  # of one colour it is only where a test wants that
        return found

    def forward(self, *_: object) -> Tensor:
        raise NotImplementedError

    def schedule(self, *_: object) -> None:
        raise NotImplementedError

    def decode(self, _: Tensor) -> Tensor:
        raise NotImplementedError

    def encode_pixels(self, _: Tensor) -> Tensor:
        raise NotImplementedError


class Ends:
    """An output handler that keeps what it receives."""

    def __init__(self) -> None:
        self.dropped: set[int] = set()
        self.looked: set[int] = set()
        self.ends: dict[int, Image | EngineError] = {}
        self.steps: list[tuple[tuple[int, int, int], ...]] = []
        self.previews: list[tuple[int, bytes, str]] = []
        self.threads: set[str] = set()

    def is_active(self, ticket: int) -> bool:
        return ticket not in self.dropped

    def wants_preview(self, ticket: int) -> bool:
        return ticket in self.looked

    def on_step(self, progress: Sequence[StepProgress], seconds: float) -> None:
        assert seconds >= 0
        self.steps.append(tuple((p.ticket, p.step, p.steps) for p in progress))

    def on_preview(self, ticket: int, preview: Preview) -> None:
        self.previews.append((ticket, preview.data, preview.mime))

    def on_image(self, ticket: int, image: Image) -> None:
        assert ticket not in self.ends
        self.threads.add(threading.current_thread().name)
        self.ends[ticket] = image

    def on_failure(self, ticket: int, error: EngineError) -> None:
        assert ticket not in self.ends
        self.ends[ticket] = error


@dataclass
class OneModel:
    """Keeps one toy in each of its precisions, the least safe first; those in ``broken`` can't be loaded."""

    toys: dict[str, Toy]
    resident: tuple[str, ...] = ("toy",)
    rooms: int = 0
    usual: str = ""
    fits: int = 8
    aside: bool = False
    pixels: int = 2**20
    asked: list[str] = field(default_factory=list)
    broken: dict[str, EngineError] = field(default_factory=dict)
    quantised: str = ""

    def __post_init__(self) -> None:
        self.usual = self.usual or next(iter(self.toys))

    def family(self, key: BatchKey) -> BatchedFamily:
        self.asked.append(self.precision(key))
        if self.precision(key) in self.broken:
            raise self.broken[self.precision(key)]
        return self.toys[self.precision(key)]

    def precision(self, key: BatchKey) -> str:
        return key.precision or self.usual

    def revision(self, model: str) -> str:
        return f"revision of {model}"

    def checkpoint_hash(self, model: str) -> str:
        return f"hash of {model}"

    def setup(self, model: str) -> str:
        return f"setup of {model}"

    def quantisation(self, model: str) -> str:
        return self.quantised

    def reference_pixels(self, model: str) -> int:
        return self.pixels

    def max_batch(self, key: BatchKey) -> int:
        return self.fits

    def decodes_aside(self, key: BatchKey) -> bool:
        return self.aside

    def tiles(self, model: str) -> bool:
        return False

    def make_room(self, model: str) -> bool:
        self.rooms -= 1
        return self.rooms >= 0

    def safer_precision(self, key: BatchKey) -> str | None:
        names = list(self.toys)
        rest = names[names.index(self.precision(key)) + 1 :]
        return rest[0] if rest else None

    def set_default_precision(self, model: str, precision: str) -> None:
        self.usual = precision

    @property
    def reloads(self) -> int:
        """How often the model manager would have loaded the model in another precision."""
        return sum(one != other for one, other in pairwise(self.asked))


class Quiet:
    """Obeys ``engine.diffusion.model_manager.LoadListener`` and tells nobody."""

    def on_loading(self, spec: ModelSpec) -> None:
        """Nothing."""

    def on_loaded(self, loaded: LoadedModel, seconds: float) -> None:
        """Nothing."""

    def on_load_failed(self, loaded: LoadedModel | None, problem: str) -> None:
        """Nothing."""

    def on_notice(self, text: str) -> None:
        """Nothing."""


def to_its_end(steps: Generator[None, None, T]) -> T:
    """Return what a generator returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: T = end.value
            return found
