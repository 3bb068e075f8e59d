"""Reads the picture that a drawing starts from, and its mask; whatever is in the file, it ends in pixels or a sentence."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps

from engine.contract import BadImage, Recipe
from engine.families.denoise_state import InitImage

MAX_PIXELS = 50_000_000
"""Pictures of more pixels are refused by their header: decoded, they would take 150 MB and more."""

MASK_LEAST = 16
"""Of 255: a mask that is nowhere lighter draws nothing anew that could be seen."""

PLAIN_MOST = 8
"""Of 255: colours of a picture that differ by no more are one colour, as JPEG or scaling leave it."""


class Enlarges(Protocol):
    """A model that makes pictures larger (``engine.diffusion.upscaler``)."""

    @property
    def digest(self) -> str:
        """Names the model, once it has enlarged something."""

    def enlarge(self, picture: Pillow.Image) -> Generator[None, None, Pillow.Image]:
        """Enlarge an RGB picture, yielding now and then; return it larger, by a whole factor. Raises EngineError."""


class Starting:
    """What a recipe starts from, as it comes along: enlarging may take minutes, and others are drawn meanwhile.

    Attributes:
        start: What ``read`` returns, once it is there.
    """

    def __init__(self, recipe: Recipe, upscaler: Enlarges | None) -> None:
        self._reading = read(recipe, upscaler)
        self.start: InitImage | None = None

    def go_on(self, seconds: float) -> bool:
        """Go on for about so long; whether ``start`` is there now. Raises what ``read`` raises."""
        until = time.monotonic() + seconds
        while True:
            try:
                next(self._reading)
            except StopIteration as end:
                self.start = end.value
                return True
            if time.monotonic() >= until:
                return False


def read(recipe: Recipe, upscaler: Enlarges | None = None) -> Generator[None, None, InitImage | None]:
    """Read what the recipe starts from, scaled and cropped to its size; returns None when it starts from noise.

    Yields while something enlarges it.

    Args:
        recipe: Whose picture.
        upscaler: Enlarges a picture that is too small both ways; scaling does the rest, and all where there is none.

    Raises:
        BadImage: A file is not there, is no picture, is cut short or is far too large; the mask has nothing white in
            what is drawn.
        EngineError: The upscaler can't be used.
    """
    if not recipe.image:
        return None
    size = (recipe.width, recipe.height)
    picture = _open(recipe.image, "picture")
    by = ""
    if upscaler is not None and picture.width < recipe.width and picture.height < recipe.height:
        picture = yield from upscaler.enlarge(picture)
        by = upscaler.digest
    pixels = np.array(_fitted(picture, size), np.uint8)  # torch wants it writable
    if not recipe.mask:
        return InitImage(pixels, upscaler=by)
    grey = np.asarray(_fitted(_open(recipe.mask, "mask"), size).convert("L"))
    if grey.max() < MASK_LEAST:
        raise BadImage("Nothing of the mask is white where the picture is drawn; paint the part to draw anew white.")
    return InitImage(pixels, (grey / 255).astype(np.float32), by)


def is_plain(start: InitImage | None) -> bool:
    """Whether a drawing starts from a picture of one colour, so that its own being of one colour proves nothing."""
    if start is None:
        return False
    colours = start.pixels.reshape(-1, 3)
    return int(np.ptp(colours, axis=0).max()) <= PLAIN_MOST


def _open(path: str, what: str) -> Pillow.Image:
    try:
        with Pillow.open(Path(path)) as found:
            if found.width * found.height > MAX_PIXELS:
                raise Pillow.DecompressionBombError
            upright = ImageOps.exif_transpose(found)
            return _on_white(upright)
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning) as e:  # Pillow has limits of its own
        raise BadImage(
            f"The {what} to start from has more than {MAX_PIXELS // 10**6} million pixels; give a smaller one."
        ) from e
    except FileNotFoundError as e:
        raise BadImage(f"The {what} to start from is not there any more; give it again.") from e
    except Exception as e:  # Pillow's readers raise whatever the bytes lead them to
        raise BadImage(f"The {what} to start from can't be read as a picture; give a PNG, JPEG or WebP.") from e


def _fitted(picture: Pillow.Image, size: tuple[int, int]) -> Pillow.Image:
    return ImageOps.fit(picture, size, Pillow.Resampling.LANCZOS)


def _on_white(picture: Pillow.Image) -> Pillow.Image:
    """Return the picture in RGB; what can be seen through is white."""
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    rgba = picture.convert("RGBA")
    ground = Pillow.new("RGBA", rgba.size, "white")
    return Pillow.alpha_composite(ground, rgba).convert("RGB")
