"""The state of a picture between its steps, and its inputs: embedded prompts and an initial image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from engine.contract import Recipe


@dataclass(frozen=True, slots=True)
class Embedding:
    """A prompt, encoded for its model.

    Attributes:
        tensors: Inputs of the family's ``forward``; the first is (tokens, channels), without padding.
        cut: The prompt was longer than the model reads, and its end was cut off.
        extended: Weights or several chunks made it, which an older Easel did not have.
    """

    tensors: tuple[Tensor, ...]
    cut: bool = False
    extended: bool = False

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return sum(t.nbytes for t in self.tensors)


@dataclass(frozen=True, slots=True)
class WholePicture:
    """The whole picture around a part that is drawn at full size.

    Attributes:
        box: Left, top, right and bottom of the part, in pixels of ``pixels``.
        pixels: (height, width, 3), 0 to 255, of the recipe's size.
        mask: (height, width), 0 (stays) to 1 (is drawn again), of the whole picture.
    """

    box: tuple[int, int, int, int]
    pixels: NDArray[np.uint8]
    mask: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class InitImage:
    """An initial image (img2img, inpainting).

    Attributes:
        pixels: (height, width, 3), 0 to 255, of the recipe's size.
        mask: (height, width), 0 (stays) to 1 (is drawn again); None: all of it is drawn again.
        upscaler: Digest of the model that enlarged it; empty if none did.
        around: What the result is put back into, where ``pixels`` and ``mask`` are an enlarged part of a picture.
    """

    pixels: NDArray[np.uint8]
    mask: NDArray[np.float32] | None = None
    upscaler: str = ""
    around: WholePicture | None = None

    @property
    def zoomed(self) -> bool:
        """Whether it is an enlarged part of a picture."""
        return self.around is not None


def kept_outside_mask(pixels: Tensor, init_image: InitImage | None) -> Tensor:
    """Return a picture with the initial image's pixels where its mask is 0, on the device of the picture.

    One that was drawn as an enlarged part is put back into the whole picture, which is in main memory.

    Args:
        pixels: (height, width, 3) from 0 to 1, float32.
        init_image: The initial image.
    """
    if init_image is None or init_image.mask is None:
        return pixels
    if init_image.around is not None:
        return _put_back(pixels.cpu(), init_image.around)
    return _mixed(pixels, init_image.pixels, init_image.mask)


def _put_back(pixels: Tensor, around: WholePicture) -> Tensor:
    left, top, right, bottom = around.box
    # Averages the pixels that become one, without the ringing of Lanczos at the edges of what was drawn.
    size = (right - left, bottom - top)
    channels = [Pillow.fromarray(c.numpy()).resize(size, Pillow.Resampling.BICUBIC) for c in pixels.unbind(-1)]
    part = (slice(top, bottom), slice(left, right))
    small = torch.from_numpy(np.stack([np.asarray(channel) for channel in channels], axis=-1))
    found = _from_bytes(around.pixels, pixels)
    found[part] = _mixed(small, around.pixels[part], around.mask[part])
    return found


def _mixed(pixels: Tensor, original: NDArray[np.uint8], mask: NDArray[np.float32]) -> Tensor:
    share = torch.from_numpy(mask).to(pixels.device)[..., None]
    return pixels * share + _from_bytes(original, pixels) * (1 - share)


def _from_bytes(original: NDArray[np.uint8], like: Tensor) -> Tensor:
    """Return a picture's bytes as values from 0 to 1, on the device of another tensor and in its dtype."""
    # A divisor on the device: CUDA would multiply by the reciprocal of a number, which rounds differently.
    return torch.from_numpy(original).to(like.device).to(like.dtype) / like.new_full((), 255.0)


class PictureState(Protocol):
    """What the executor sees of a picture that has begun, whatever its family.

    Attributes:
        wants_preview: Previews are wanted.
    """

    wants_preview: bool

    @property
    def init_image(self) -> InitImage | None:
        """The initial image."""

    @property
    def done(self) -> int:
        """Steps that are done."""

    @property
    def steps(self) -> int:
        """Steps in all."""

    @property
    def finished(self) -> bool:
        """Whether no step is left."""

    @property
    def passes(self) -> int:
        """Predictions of a step: 2 with guidance, otherwise 1."""

    @property
    def prompt_cut(self) -> bool:
        """Whether the prompt was longer than the model reads, so that its end was cut off."""

    @property
    def cached(self) -> int:
        """One step out of this number was computed in the middle; 0: all of them."""

    @property
    def lost(self) -> bool:
        """Whether it can't go on, since its model was unloaded or a step failed: the picture has to be started again."""

    def finite(self) -> bool:
        """Whether all numbers of the latents are finite."""

    def close(self) -> None:
        """Give up what it holds. It takes no more steps."""


@dataclass(slots=True, eq=False)
class DenoiseState:
    """One picture of a batched family between its first step and its last. Implements ``PictureState``.

    Attributes:
        recipe: The recipe.
        prompt: Embedding of the prompt.
        negative: Embedding of the negative prompt; None if the guidance uses none.
        scheduler: Scheduler of this picture alone.
        timesteps: Its timesteps, on the CPU; fewer than ``recipe.steps`` with an initial image.
        generator: Random generator of this picture alone, for schedulers that add noise.
        latents: (1, channels, height / 8, width / 8), float32.
        noise: Initial noise, of the same shape.
        init_image: The initial image.
        init_latents: Latents of the initial image, if a mask keeps a part of it.
        mask: That mask, (1, 1, height / 8, width / 8).
        condition: The control picture as its ControlNet takes it, with a first side of 1; None without control.
        control_weight: (1,) float32, the recipe's, on the device; None without control.
        done: Steps that are done.
        cached: One step out of this number is computed in the middle; 0: all steps were computed so far.
        predictions: Timestep and prediction of the last two computed steps; empty if no step will be extrapolated.
        denoised: The last step's estimate of the finished latents; kept for previews only.
        wants_preview: Previews are wanted, so ``denoised`` is kept.
        times: (steps,) float32, the timesteps on the device of the latents: a copy in each step would wait for it.
    """

    recipe: Recipe
    prompt: Embedding
    negative: Embedding | None
    scheduler: Any
    timesteps: Tensor
    generator: torch.Generator
    latents: Tensor
    noise: Tensor
    init_image: InitImage | None = None
    init_latents: Tensor | None = None
    mask: Tensor | None = None
    condition: Tensor | None = None
    control_weight: Tensor | None = None
    done: int = 0
    cached: int = 0
    predictions: tuple[tuple[float, Tensor], ...] = ()
    denoised: Tensor | None = None
    wants_preview: bool = False
    times: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.times = self.timesteps.to(self.latents.device, torch.float32)

    def skip(self, steps: int) -> None:
        """Leave out the first steps, before any is done."""
        self.timesteps, self.times = self.timesteps[steps:], self.times[steps:]

    @property
    def steps(self) -> int:
        """Steps in all."""
        return len(self.timesteps)

    @property
    def finished(self) -> bool:
        """Whether no step is left."""
        return self.done >= self.steps

    @property
    def passes(self) -> int:
        """See PictureState."""
        return 1 if self.negative is None else 2

    @property
    def prompt_cut(self) -> bool:
        """See PictureState."""
        return self.prompt.cut

    @property
    def lost(self) -> bool:
        """See PictureState. A state holds all that it needs, so that it goes on when the model is loaded again."""
        return False

    def finite(self) -> bool:
        """See PictureState."""
        return bool(torch.isfinite(self.latents).all())

    def close(self) -> None:
        """See PictureState. Its tensors are freed with it."""
