"""Requests in the engine's process: their state from arrival to end, and which of them take the next denoising step.

Requests with the same batch key share a step, up to a batch size that is measured to be worth it. Imports neither torch
nor NumPy: the process listens to its parent before it imports them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from engine.contract import EngineError, Image, Lane, LoraRequest, Preview, Recipe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from engine.diffusion.init_image import InitImageReader
    from engine.diffusion.lora_library import LoraSet
    from engine.families.denoise_state import PictureState


@dataclass(frozen=True, slots=True)
class BatchKey:
    """What requests must have in common to share a step.

    Attributes:
        model: Name of the model's profile.
        width: Pixels.
        height: Pixels.
        precision: Number format; empty for the model's default.
        loras: As ``lora_set`` returns them.
        control: Kind of the control pictures; empty for none.
    """

    model: str
    width: int
    height: int
    precision: str = ""
    loras: tuple[LoraRequest, ...] = ()
    control: str = ""

    @property
    def pixels(self) -> int:
        """Pixels of one picture."""
        return self.width * self.height


def lora_set(recipe: Recipe) -> tuple[LoraRequest, ...]:
    """Return the LoRAs that change a recipe's picture, in one order, so that equal sets are equal.

    Their order is no matter to the picture; weights of one that is named twice are added.
    """
    weights: dict[str, float] = {}
    for lora in recipe.loras:
        weights[lora.name] = weights.get(lora.name, 0.0) + lora.weight
    return tuple(LoraRequest(name, weight) for name, weight in sorted(weights.items()) if weight)


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A picture before it is encoded.

    Attributes:
        pixels: (height, width, 3).
        precision: Number format that it was drawn in.
        prompt_cut: The end of its prompt was left out.
        extras: ``RequestState.extras``, and how the model's weights are quantised.
        zoomed: See ``InitImage.zoomed``.
        loras: See ``engine.contract.Image``.
    """

    pixels: NDArray[np.uint8]
    precision: str
    prompt_cut: bool
    extras: str
    zoomed: bool = False
    loras: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True, eq=False)
class RequestState:
    """One recipe that has not ended. The thread that listens creates it; afterwards the drawing thread alone uses it.

    Attributes:
        ticket: Number by which the parent knows it.
        recipe: What to draw.
        lane: How urgent it is.
        precision: Number format that it must be drawn in; empty for the model's default.
        steps: Denoising steps that are left.
        weight: Cost of a step compared with other requests of the same size: 2 with guidance.
        alone: It shares no step, because a batch that it was in has failed.
        begun: Its denoising has begun.
        passed: How often another request was scheduled before it.
        reader: Reads its initial image; None before and after.
        denoise: Its denoising; None before the first step.
        loras: Its LoRAs, prepared; None before the first step.
        seconds: Time that the device spent on it.
        retried: It is drawn a second time, in a safer precision, because its first picture was ``flat`` or overflowed.
        flat: Its first picture, if all pixels of that had one colour.
        extended_prompt: See ``Embedding.extended``, of its prompt or its negative prompt.
        controlnet: Name of its ControlNet; empty for none.
        previewed_at: When its last preview was made, by the monotonic clock.
    """

    ticket: int
    recipe: Recipe
    lane: Lane = Lane.INTERACTIVE
    precision: str = ""
    steps: int = field(init=False)
    weight: int = 1
    alone: bool = False
    begun: bool = False
    passed: int = 0
    reader: InitImageReader | None = None
    denoise: PictureState | None = None
    loras: LoraSet | None = None
    seconds: float = 0.0
    retried: bool = False
    flat: DecodedImage | None = None
    extended_prompt: bool = False
    controlnet: str = ""
    previewed_at: float = 0.0

    _lora_set: tuple[LoraRequest, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.steps = self.recipe.steps
        self._lora_set = lora_set(self.recipe)

    @property
    def key(self) -> BatchKey:
        """What it must have in common with others to share a step."""
        recipe = self.recipe
        return BatchKey(recipe.model, recipe.width, recipe.height, self.precision, self._lora_set, recipe.control)

    @property
    def work(self) -> int:
        """What is left to do, in pixels times steps."""
        return self.steps * self.recipe.seen_pixels * self.weight

    @property
    def extras(self) -> str:
        """What changed its pixels besides the model: LoRAs, the upscaler, the step cache, a ControlNet, ...; mostly empty."""
        if self.denoise is None:
            return ""
        upscaler = "" if self.denoise.init_image is None else self.denoise.init_image.upscaler
        step_cache = f"step cache {self.denoise.cached}" if self.denoise.cached else ""
        syntax = "prompt syntax" if self.extended_prompt else ""
        loras = "" if self.loras is None else self.loras.extras
        control = f"control {self.controlnet}" if self.controlnet else ""
        zoom = "mask zoom" if self.denoise.init_image is not None and self.denoise.init_image.zoomed else ""
        return " ".join(filter(None, (loras, upscaler, step_cache, syntax, control, zoom)))

    def restart(self, precision: str) -> None:
        """Begin again in a precision; empty for the model's default."""
        self.close()
        self.steps = self.recipe.steps
        self.begun = False
        self.precision = precision

    def close(self) -> None:
        """Give up what it holds of an unfinished picture."""
        if self.denoise is not None:
            self.denoise.close()
        self.reader = self.denoise = self.loras = None


@dataclass(frozen=True, slots=True)
class StepProgress:
    """Step ``step`` (1-based) of ``steps`` of a request is done."""

    ticket: int
    step: int
    steps: int


class OutputHandler(Protocol):
    """Receives steps, previews, images and failures, on the drawing thread or on the image encoder's."""

    def is_active(self, ticket: int, /) -> bool:
        """Whether the parent still waits for this request."""

    def wants_preview(self, ticket: int, /) -> bool:
        """Whether previews of this request are wanted."""

    def on_step(self, progress: Sequence[StepProgress], seconds: float, /) -> None:
        """These requests have taken a step together; ``seconds`` is how long it took."""

    def on_preview(self, ticket: int, preview: Preview, /) -> None:
        """A preview of this request was made."""

    def on_image(self, ticket: int, image: Image, /) -> None:
        """This request ended in a picture."""

    def on_failure(self, ticket: int, error: EngineError, /) -> None:
        """This request ended without a picture."""


MAX_PASSED = 3
"""How often later requests may be scheduled before an earlier one; then it is drawn to its end."""

MAX_PASSED_BULK = 20
"""The same for bulk requests that urgent ones pass."""

BULK_SHARE = 2
"""Bulk work fills at most this fraction (one in two) of a batch: an urgent request waits for the running step to end."""

SHORTER = 0.5
"""A request goes first if its work is at most this share of what is left of the current one."""


@dataclass(slots=True)
class StepScheduler:
    """All open requests, in the order of their arrival.

    Attributes:
        max_batch: Returns how many requests may share a step with this one; at least 1.
        loaded: Names of the models on the device. Another model is loaded only if no request for one of them may go first.
    """

    max_batch: Callable[[RequestState], int]
    loaded: Collection[str] = ()
    _open: dict[int, RequestState] = field(default_factory=dict)
    _current: RequestState | None = None

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[RequestState]:
        return iter(list(self._open.values()))

    def add(self, request: RequestState) -> None:
        """Add a request behind those that came before."""
        self._open[request.ticket] = request

    def remove(self, ticket: int) -> None:
        """Remove a request that has ended; unknown tickets are ignored."""
        gone = self._open.pop(ticket, None)
        if gone is self._current:
            self._current = None

    def preempt(self, request: RequestState) -> None:
        """Let the next call of ``schedule`` choose anew, if this request is the current one."""
        if request is self._current:
            self._current = None

    def schedule(self) -> list[RequestState]:
        """Return the requests that take the next step together, the current one first; empty if nothing is open."""
        if not self._open:
            return []
        if self._current is None:
            self._current = self._head()
        batch = self._batch(self._current)
        rivals = (r for r in self._open.values() if self._may_pass(r, self._current, joined=r in batch))
        rival = min(rivals, key=lambda r: r.work, default=None)
        if rival is None:
            return batch
        self._current.passed += 1
        self._current = rival
        return self._batch(rival)

    def _batch(self, current: RequestState) -> list[RequestState]:
        """Return the requests that take a step with this one, itself first."""
        if current.alone:
            return [current]
        key = current.key
        mates = [r for r in self._open.values() if r is not current and r.key == key and self._may_join(r, current)]
        # A request that has begun stays in, or it would wait for each newcomer.
        mates.sort(key=lambda r: (r.lane is Lane.BULK, not r.begun))
        most = self.max_batch(current) // (BULK_SHARE if current.lane is Lane.BULK else 1)
        return [current, *mates[: max(1, most) - 1]]

    def _head(self) -> RequestState:
        """Return the request to draw when none is current: the first, or one that avoids a change of the model.

        That is a request for a loaded model, or one that was begun in another precision than the first one's.
        """
        first = min(self._open.values(), key=lambda r: (r.lane is Lane.BULK, r.passed < _bound(r)))
        if first.passed >= _bound(first):
            return first
        mates = [r for r in self._open.values() if r.lane is first.lane]
        if first.recipe.model in self.loaded:
            cheaper = (r for r in mates if r.begun and not first.begun and _differ_in_precision(r, first))
        else:
            cheaper = (r for r in mates if r.recipe.model in self.loaded)
        other = next(cheaper, None)
        if other is None:
            return first
        first.passed += 1
        return other

    def _may_pass(self, request: RequestState, current: RequestState, *, joined: bool) -> bool:
        """Whether a request may be drawn before the current one, which then waits."""
        if request is current or current.passed >= _bound(current):
            return False
        if request.precision != current.precision:
            return False
        if request.recipe.model != current.recipe.model and not self._both_resident(request, current):
            return False
        if request.lane is not current.lane:
            return request.lane is Lane.INTERACTIVE
        return not joined and not request.begun and request.work <= current.work * SHORTER

    def _both_resident(self, one: RequestState, other: RequestState) -> bool:
        """Whether two requests for different models can take turns without a load."""
        models = {one.recipe.model, other.recipe.model}
        return not one.precision and models <= set(self.loaded)

    @staticmethod
    def _may_join(request: RequestState, current: RequestState) -> bool:
        """Whether a request with the same key may share the step; bulk work does not slow urgent work down."""
        return not request.alone and (request.lane is Lane.INTERACTIVE or current.lane is Lane.BULK)


def _differ_in_precision(one: RequestState, other: RequestState) -> bool:
    return one.recipe.model == other.recipe.model and one.precision != other.precision


def _bound(request: RequestState) -> int:
    return MAX_PASSED_BULK if request.lane is Lane.BULK else MAX_PASSED
