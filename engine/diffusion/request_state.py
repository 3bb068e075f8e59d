"""A request from its arrival in the engine's process to its end: its state, its batch key and its outputs.

Imports neither torch nor NumPy: the process listens to its parent before it imports them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from engine.contract import EngineError, Image, Lane, Preview, Recipe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from engine.diffusion.init_image import InitImageReader
    from engine.families.denoise_state import PictureState


@dataclass(frozen=True, slots=True)
class BatchKey:
    """What requests must have in common to share a step.

    Attributes:
        model: Name of the model's profile.
        width: Pixels.
        height: Pixels.
        precision: Number format; empty for the model's default.
    """

    model: str
    width: int
    height: int
    precision: str = ""

    @property
    def pixels(self) -> int:
        """Pixels of one picture."""
        return self.width * self.height


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A picture before it is encoded.

    Attributes:
        pixels: (height, width, 3).
        precision: Number format that it was drawn in.
        prompt_cut: The end of its prompt was left out.
        extras: See ``RequestState.extras``.
    """

    pixels: NDArray[np.uint8]
    precision: str
    prompt_cut: bool
    extras: str


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
        seconds: Time that the device spent on it.
        retried: It is drawn a second time, in a safer precision, because its first picture was ``flat`` or overflowed.
        flat: Its first picture, if all pixels of that had one colour.
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
    seconds: float = 0.0
    retried: bool = False
    flat: DecodedImage | None = None
    previewed_at: float = 0.0

    def __post_init__(self) -> None:
        self.steps = self.recipe.steps

    @property
    def key(self) -> BatchKey:
        """What it must have in common with others to share a step."""
        return BatchKey(self.recipe.model, self.recipe.width, self.recipe.height, self.precision)

    @property
    def work(self) -> int:
        """What is left to do, in pixels times steps."""
        return self.steps * self.recipe.width * self.recipe.height * self.weight

    @property
    def extras(self) -> str:
        """What changed its pixels besides the model: the upscaler's digest, the step cache; mostly empty."""
        if self.denoise is None:
            return ""
        upscaler = "" if self.denoise.init_image is None else self.denoise.init_image.upscaler
        step_cache = f"step cache {self.denoise.cached}" if self.denoise.cached else ""
        return " ".join(filter(None, (upscaler, step_cache)))

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
        self.reader = self.denoise = None


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
